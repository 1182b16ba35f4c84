//! **script** — stories as text: verb lines, `----`, the reply. As in raft's interaction tests.
//! `REWRITE=1` writes the replies anew; a reader of the diff judges them.

use super::World;
use protocol::time::Span;

/// Runs a story; what it should read like, with the replies of this run.
pub(crate) fn replay(story: &str) -> String {
    let mut world = World::new();
    let mut out = String::new();
    for block in story.split("\n\n") {
        let block = block.trim_matches('\n');
        let verbs = block.split("\n----").next().unwrap_or(block);
        if block.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(verbs);
        out.push('\n');
        let orders: Vec<&str> = verbs.lines().filter(|line| !line.starts_with('#')).collect();
        if orders.is_empty() {
            continue;
        }
        for order in orders {
            world.obey(order);
        }
        let reply = world.reply();
        out.push_str("----\n");
        out.push_str(&reply);
    }
    out
}

impl World {
    fn reply(&mut self) -> String {
        if self.lines.is_empty() {
            return "ok\n".to_owned();
        }
        std::mem::take(&mut self.lines).into_iter().map(|line| line + "\n").collect()
    }
}

/// A count in a story.
pub(super) fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// A time in a story: `35s`, `500ms`.
pub(super) fn seconds(text: &str) -> Span {
    if let Some(millis) = text.strip_suffix("ms") {
        return Span(number(millis));
    }
    let digits = text.strip_suffix('s').unwrap_or_else(|| panic!("{text} is no time: say 35s"));
    Span::seconds(number(digits))
}

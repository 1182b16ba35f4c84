//! **env_file** — reads `/var/run/coreos/etcdadm-environment` as systemd reads an
//! `EnvironmentFile=`.
//!
//! Comes from a file that kube-aws writes, units load and shells `source`. Goes to
//! [`config`](super). The states and their moves are those of systemd's `parse_env_file_internal`
//! (src/basic/env-file.c, v254 and later): `#` and `;` open comments only at a line's beginning;
//! a backslash before a line's end joins lines; single quotes keep everything; double quotes let
//! the backslash escape `"`, `\`, `` ` `` and `$` only; unquoted, it escapes anything. No variable
//! is expanded. Lines without `=` are ignored. Two differences, both where systemd would hide a
//! mistake or a shell would not mind: a quote that is never closed is an error, and `export ` in
//! front of a name is accepted.

use std::collections::BTreeMap;

/// What is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvFileError {
    /// A quote is never closed: it would have swallowed the rest of the file.
    #[error("the quote opened on line {0} is never closed")]
    OpenQuote(
        /// Line, counted from 1.
        usize,
    ),
}

#[derive(Clone, Copy)]
enum At {
    BeforeKey,
    Key,
    BeforeValue,
    Value,
    Escape,
    Single(usize),
    Double(usize),
    DoubleEscape(usize),
    Comment,
    CommentEscape,
}

struct Parser {
    at: At,
    line: usize,
    key: String,
    value: String,
    /// Length of `value` that trailing white space must not be cut from: what was quoted.
    keep: usize,
    said: BTreeMap<String, String>,
}

/// Reads the text of an environment file; the last one of two equal names wins.
///
/// # Errors
/// A quote that is never closed.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, EnvFileError> {
    let mut parser = Parser {
        at: At::BeforeKey,
        line: 1,
        key: String::new(),
        value: String::new(),
        keep: 0,
        said: BTreeMap::new(),
    };
    for c in text.chars() {
        parser.at = parser.step(c);
        parser.line += usize::from(c == '\n');
    }
    match parser.at {
        At::Single(line) | At::Double(line) | At::DoubleEscape(line) => {
            Err(EnvFileError::OpenQuote(line))
        }
        At::BeforeValue | At::Value | At::Escape => {
            parser.finish();
            Ok(parser.said)
        }
        At::BeforeKey | At::Key | At::Comment | At::CommentEscape => Ok(parser.said),
    }
}

impl Parser {
    fn step(&mut self, c: char) -> At {
        match self.at {
            At::BeforeKey => self.before_key(c),
            At::Key => self.key(c),
            At::BeforeValue => self.before_value(c),
            At::Value => self.value(c),
            At::Escape => {
                if !is_newline(c) {
                    self.push_kept(c);
                }
                At::Value
            }
            At::Single(line) => self.quoted(c, '\'', At::Single(line)),
            At::Double(line) if c == '\\' => At::DoubleEscape(line),
            At::Double(line) => self.quoted(c, '"', At::Double(line)),
            At::DoubleEscape(line) => {
                self.double_escape(c);
                At::Double(line)
            }
            At::Comment if c == '\\' => At::CommentEscape,
            At::Comment | At::CommentEscape if is_newline(c) => At::BeforeKey,
            At::Comment | At::CommentEscape => At::Comment,
        }
    }

    fn before_key(&mut self, c: char) -> At {
        self.key.clear();
        match c {
            '#' | ';' => At::Comment,
            _ if is_space(c) => At::BeforeKey,
            _ => {
                self.key.push(c);
                At::Key
            }
        }
    }

    fn key(&mut self, c: char) -> At {
        match c {
            _ if is_newline(c) => At::BeforeKey,
            '=' => {
                self.value.clear();
                self.keep = 0;
                At::BeforeValue
            }
            _ => {
                self.key.push(c);
                At::Key
            }
        }
    }

    fn before_value(&mut self, c: char) -> At {
        match c {
            _ if is_newline(c) => self.finish(),
            '\'' => At::Single(self.line),
            '"' => At::Double(self.line),
            '\\' => At::Escape,
            _ if is_space(c) => At::BeforeValue,
            _ => {
                self.value.push(c);
                At::Value
            }
        }
    }

    fn value(&mut self, c: char) -> At {
        match c {
            _ if is_newline(c) => self.finish(),
            '\\' => {
                self.keep = self.value.len();
                At::Escape
            }
            _ => {
                self.value.push(c);
                At::Value
            }
        }
    }

    fn quoted(&mut self, c: char, quote: char, inside: At) -> At {
        if c == quote {
            return At::BeforeValue;
        }
        self.push_kept(c);
        inside
    }

    fn double_escape(&mut self, c: char) {
        if matches!(c, '"' | '\\' | '`' | '$') {
            self.push_kept(c);
        } else if c != '\n' {
            self.push_kept('\\');
            self.push_kept(c);
        }
    }

    fn push_kept(&mut self, c: char) {
        self.value.push(c);
        self.keep = self.value.len();
    }

    fn finish(&mut self) -> At {
        let name = self.key.trim_end();
        let name = name.strip_prefix("export ").map_or(name, str::trim_start);
        let ends = self.value.trim_end_matches(is_space).len().max(self.keep);
        if is_name(name) {
            self.said.insert(name.to_owned(), self.value[..ends].to_owned());
        }
        At::BeforeKey
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

const fn is_newline(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

//! **verbs** — what a story may say, one line each. A word that isn't one ends the test.

use super::{
    World,
    etcd::{self, Entry},
    machine::Machine,
    script::{number, seconds},
    seats,
};
use protocol::{
    coordinator::{Mode, Threshold},
    event::{Command, Event, Ticket},
    limits::Timers,
    registry::{Evidence, Phase, Request},
};

const DISTURBANCES: &[&str] = &[
    "kill-etcd",
    "operator-stops",
    "operator-starts",
    "break-etcd",
    "mend-etcd",
    "lock",
    "unlock",
    "let-in",
    "break-saves",
    "mend-saves",
    "spoil",
    "wipe",
    "unmount",
    "mount",
    "kill-agent",
    "power-off",
    "pause-agent",
    "resume-agent",
    "cut-off",
    "reconnect",
];

impl World {
    pub(super) fn obey(&mut self, order: &str) {
        let words: Vec<&str> = order.split_whitespace().collect();
        let Some((verb, rest)) = words.split_first() else { return };
        match (*verb, rest) {
            ("quietly", _) => {
                let before = self.lines.len();
                self.obey(&rest.join(" "));
                self.lines.truncate(before);
            }
            ("policy", _) => rest.iter().for_each(|setting| self.set_policy(setting)),
            ("cluster", names) => self.found_seats(names),
            ("bootstrap", _) => {
                (0..self.machines.len()).for_each(|machine| self.start_agent(machine))
            }
            ("write", [count]) => self.write_keys(number(count)),
            ("run", ["until", what, "within", span]) => self.run_until(what, span),
            ("run", [span]) => drop(self.run(seconds(span), |_| false)),
            ("records", []) => self.show_records(),
            ("explain", [name]) => self.explain(&self.leader_or(name)),
            ("expect", what) => self.expect(what),
            ("slow-data", [span]) => self.data_delay = seconds(span).0 / 2,
            ("cut-s3", [how]) => self.s3_cut = *how == "on",
            ("differs", [name]) => drop(self.differs.insert(self.machine(name))),
            ("agrees", [name]) => drop(self.differs.remove(&self.machine(name))),
            ("cut-table", [how]) => self.table_cut = *how == "on",
            ("damage", [what]) => self.damage(what),
            ("doubt-saves", [how]) => self.doubtful = *how == "on",
            ("mend", ["snapshots"]) => self.mend(),
            ("by-hand", [how, name]) => self.change_by_hand(how, name),
            ("swap-volumes", [one, other]) => self.swap_volumes(one, other),
            _ if self.disturb(verb, rest) => {}
            _ => self.command(verb, rest),
        }
        self.raft();
        self.watch();
    }

    fn set_policy(&mut self, setting: &str) {
        let (name, value) = setting.split_once('=').expect("name=value");
        match (name, value) {
            ("mode", "ask") => self.policy.mode = Mode::Ask,
            ("mode", "off") => self.policy.mode = Mode::Off,
            ("timers", "production") => self.policy.timers = Timers::PRODUCTION,
            ("min-members", count) => self.policy.min_members = Some(number(count) as usize),
            ("max-loss", count) => self.policy.max_loss = Some(number(count)),
            ("threshold", "1/N") => self.policy.threshold = Threshold::OneNth,
            ("exports", "no") => self.policy.exports = false,
            ("proven", "no") => self.policy.proven = false,
            ("seats", names) => self.policy.seats = seats(&names.split(',').collect::<Vec<_>>()),
            ("bootstrap", "no") => self.policy.bootstrap = false,
            _ => panic!("no such policy: {setting}"),
        }
    }

    fn machine(&self, name: &str) -> usize {
        let found = self.machines.iter().position(|machine| machine.instance.0 == name);
        found.unwrap_or_else(|| panic!("no machine is called {name}"))
    }

    /// What happens to machines.
    fn disturb(&mut self, verb: &str, rest: &[&str]) -> bool {
        let Some(name) = rest.first() else { return false };
        if verb == "start-agent" {
            self.bring_agent(name, &rest[1..]);
            return true;
        }
        if !DISTURBANCES.contains(&verb) {
            return false;
        }
        for name in rest.iter().map(|name| self.leader_or(name)).collect::<Vec<_>>() {
            let machine = self.machine(&name);
            if matches!(
                verb,
                "kill-etcd" | "operator-stops" | "break-etcd" | "spoil" | "wipe" | "power-off"
            ) {
                self.machines[machine].etcd = None;
            }
            if matches!(verb, "operator-stops" | "operator-starts" | "power-off") {
                self.machines[machine].kept_down = verb == "operator-stops"; // a boot forgets it
            }
            self.machines[machine].volume.spoiled |= verb == "spoil";
            match verb {
                "wipe" => self.machines[machine].volume = super::machine::Volume::default(),
                "unmount" | "mount" => self.machines[machine].mount(verb == "mount"),
                _ => {}
            }
            if matches!(verb, "kill-agent" | "power-off") {
                self.agents.retain(|agent| agent.machine != machine);
            }
            if matches!(verb, "pause-agent" | "resume-agent") {
                self.pause(machine, verb == "pause-agent");
            }
            if matches!(verb, "cut-off" | "reconnect") {
                let cut = verb == "cut-off";
                let here = self.agents.iter_mut().filter(|agent| agent.machine == machine);
                here.for_each(|agent| agent.cut = cut);
            }
            if matches!(verb, "break-etcd" | "mend-etcd") {
                self.machines[machine].broken = verb == "break-etcd";
            }
            if matches!(verb, "lock" | "unlock") {
                self.machines[machine].locked = verb == "lock";
            }
            if let Some(etcd) = self.machines[machine].etcd.as_mut().filter(|_| verb == "let-in") {
                etcd.quarantined = false;
            }
            if matches!(verb, "break-saves" | "mend-saves") {
                self.machines[machine].mute = verb == "break-saves";
            }
            self.say(&name, &format!("!! {verb}"));
        }
        true
    }

    /// `leader` stands for whoever holds the lease.
    fn leader_or(&self, name: &str) -> String {
        if name != "leader" {
            return name.to_owned();
        }
        let ctrl = self.records().ctrl.expect("founded");
        let nonce = ctrl.lease.expect("somebody leads").nonce.0;
        nonce.rsplit_once('-').expect("we made it").0.to_owned()
    }

    fn pause(&mut self, machine: usize, paused: bool) {
        for index in 0..self.agents.len() {
            if self.agents[index].machine != machine {
                continue;
            }
            self.agents[index].paused = paused;
            let process = self.agents[index].process;
            for what in std::mem::take(&mut self.agents[index].held) {
                self.push(0, process, what);
            }
        }
    }

    fn bring_agent(&mut self, name: &str, settings: &[&str]) {
        let mut at = self.machines.iter().rposition(|machine| machine.name == name);
        for setting in settings {
            match setting.split_once('=').expect("name=value") {
                ("instance", instance) => {
                    let known = self.machines.iter().position(|m| m.instance.0 == instance);
                    at = known.or_else(|| {
                        self.machines.push(Machine::new(name, instance));
                        Some(self.machines.len() - 1)
                    });
                }
                ("as", instance) => {
                    let machine = at.expect("a machine of that name");
                    let taken = protocol::cluster::Instance(instance.to_owned());
                    self.machines[machine].mistaken_for = Some(taken);
                }
                ("named", name) => {
                    let machine = at.expect("a machine of that name");
                    name.clone_into(&mut self.machines[machine].name);
                }
                ("root", "lost") => {
                    let machine = at.expect("a machine of that name");
                    self.machines[machine].root = protocol::observation::Memory::default();
                }
                ("promise", "lost") => {
                    // its volume was not mounted when it promised: both copies lay on the root disk
                    let machine = at.expect("a machine of that name");
                    self.machines[machine].root = protocol::observation::Memory::default();
                    self.machines[machine].volume.marker = None;
                }
                _ => panic!("no such setting: {setting}"),
            }
        }
        let machine = at.expect("a machine of that name");
        assert!(self.agents.iter().all(|agent| agent.machine != machine), "one agent a machine");
        self.start_agent(machine);
        let instance = self.machines[machine].instance.0.clone();
        self.say(&instance, "!! start-agent");
    }

    fn write_keys(&mut self, count: u64) {
        for _ in 0..count {
            self.raft();
            let open = self.machines.iter().find_map(|machine| {
                let etcd = machine.etcd.as_ref().filter(|etcd| !etcd.quarantined)?;
                etcd.leader?;
                Some(machine.volume.member.as_ref()?.cluster)
            });
            let cluster = open.expect("a client finds a member that takes its write");
            let key = self.acked.len() as u64;
            let mut running: Vec<_> =
                self.machines.iter_mut().filter_map(Machine::running).collect();
            assert!(etcd::propose(cluster, &Entry::Put(key), &mut running), "it has a leader");
            self.acked.push(key);
        }
    }

    fn run_until(&mut self, what: &str, span: &str) {
        if !self.run(seconds(span), |world| world.holds(what)) {
            self.show_records();
            let names: Vec<String> =
                self.agents.iter().map(|a| self.machines[a.machine].instance.0.clone()).collect();
            names.iter().for_each(|name| self.explain(name));
            panic!("{}\nnever {what} within {span}", self.lines.join("\n"));
        }
        self.say("", &format!("-- {what}"));
    }

    fn holds(&self, what: &str) -> bool {
        let records = self.records();
        let Some(ctrl) = &records.ctrl else { return false };
        match what.split_once('=') {
            None if what == "serving" => self.serves() == self.policy.seats.len(),
            None if what == "replacing" => ctrl.op.is_some(),
            None if what == "replaced" => ctrl.op.is_none(),
            None if what == "drifted" => ctrl.drift.is_some(),
            None if what == "reconciled" => ctrl.drift.is_none(),
            None if what == "known-to-bucket" => self.bucket_knows_us(),
            Some(("stage", stage)) => ctrl.op.as_ref().is_some_and(|op| op.stage.name() == stage),
            None => Phase::parse(what).expect("a phase") == ctrl.phase,
            // the learner that is being added is on record as run by its machine
            Some(("recorded", name)) => {
                let seat = ctrl.seats.iter().find(|seat| seat.name == name).expect("a seat");
                let ran = records.slot(seat.slot).ran.as_ref().map(|ran| ran.member_id);
                ran.is_some() && ran == ctrl.op.as_ref().and_then(|op| op.added)
            }
            Some(("serving", count)) => self.serves() >= number(count) as usize,
            Some(("inc", inc)) => ctrl.inc == number(inc),
            Some(("attempt", attempt)) => ctrl.attempt == number(attempt),
            Some(("fences", count)) => {
                let fenced = |slot: &&(_, protocol::registry::SlotRecord)| {
                    slot.1.fence.as_ref().is_some_and(|f| f.attempt == ctrl.attempt)
                };
                records.slots.iter().filter(fenced).count() >= number(count) as usize
            }
            Some(("said", code)) => self
                .agents
                .iter()
                .any(|agent| agent.notes.iter().any(|note| note.code.name() == code)),
            Some(_) => panic!("no such condition: {what}"),
        }
    }

    /// Members that answer clients now.
    fn serves(&self) -> usize {
        let serves = |machine: &&Machine| {
            let Some(etcd) = &machine.etcd else { return false };
            let look = machine.look(None);
            let linearizable = matches!(
                look.etcd,
                protocol::observation::Answer::Status(status) if status.linearizable
            );
            linearizable && !etcd.quarantined
        };
        self.machines.iter().filter(serves).count()
    }

    fn expect(&mut self, what: &[&str]) {
        match what {
            ["lost", count] => {
                let led = |m: &&Machine| m.etcd.as_ref().is_some_and(|etcd| etcd.leader.is_some());
                let machine = self.machines.iter().find(led).expect("somebody serves");
                let keys =
                    machine.volume.member.as_ref().map(etcd::Store::keys).unwrap_or_default();
                let lost = self.acked.iter().filter(|key| !keys.contains(key)).count() as u64;
                assert_eq!(lost, number(count), "acknowledged writes lost");
            }
            ["holds", condition] => assert!(self.holds(condition), "{condition}"),
            ["fails", condition] => assert!(!self.holds(condition), "{condition}"),
            _ => panic!("no such expectation: {what:?}"),
        }
    }

    fn show_records(&mut self) {
        let records = self.records();
        let Some(ctrl) = &records.ctrl else { return self.lines.push("no ctrl".to_owned()) };
        self.lines.push(format!(
            "ctrl {} inc {} attempt {} opened {} members {}",
            ctrl.phase.name(),
            ctrl.inc,
            ctrl.attempt,
            ctrl.opened,
            ctrl.members.len()
        ));
        for seat in &ctrl.seats {
            let slot = records.slot(seat.slot);
            let owner =
                slot.owner.as_ref().map(|owner| owner.instance.0.clone()).unwrap_or_default();
            let ran = slot.ran.as_ref().map(|ran| format!(" ran {}@{}", ran.inc, ran.instance));
            let fence = slot
                .fence
                .as_ref()
                .map(|fence| format!(" fence {} {}", fence.attempt, Evidence::name(fence.kind)));
            let line = format!(
                "{} owner {owner}{}{}",
                seat.name,
                ran.unwrap_or_default(),
                fence.unwrap_or_default()
            );
            self.lines.push(line);
        }
    }

    fn explain(&mut self, name: &str) {
        let machine = self.machine(name);
        let agent = self.agents.iter().find(|agent| agent.machine == machine);
        let notes = agent.expect("an agent runs there").notes.clone();
        for note in notes {
            self.lines.push(format!("{name}: {} {}", note.code.name(), note.text));
        }
    }

    /// The operator's words, said to the first agent that listens: `at=NAME` chooses another.
    fn command(&mut self, verb: &str, rest: &[&str]) {
        let at = rest.iter().find_map(|word| word.strip_prefix("at="));
        let because = "the story says so".to_owned();
        let slot = || {
            let seat =
                self.policy.seats.iter().find(|seat| Some(&seat.name.as_str()) == rest.first());
            seat.expect("a seat").slot
        };
        let by = "op".to_owned();
        let request = |rollback| Request {
            rollback,
            source: rest
                .iter()
                .find_map(|word| word.strip_prefix("from="))
                .map(|key| self.named(key)),
            scope: Vec::new(),
            by: "op".to_owned(),
            because: "the story says so".to_owned(),
            attempt: None,
        };
        let command = match verb {
            "attest" => Command::Attest { slot: slot(), by, because },
            "replace" => Command::Replace { slot: slot(), because },
            "approve" => {
                let ctrl = self.records().ctrl.expect("founded");
                Command::Approve { attempt: ctrl.attempt }
            }
            "adopt" => self.adoption(rest.first().expect("a snapshot")),
            "abort" => Command::Abort,
            "save" => Command::Save,
            "pause" => Command::Pause { because },
            "resume" => Command::Resume,
            "restore" => Command::Restore(request(false)),
            "rollback" => Command::Restore(request(true)),
            _ => panic!("no such verb: {verb}"),
        };
        let machine = at.map(|name| self.machine(name));
        let index = self
            .agents
            .iter()
            .position(|agent| !agent.paused && machine.is_none_or(|at| at == agent.machine));
        self.count += 1;
        let ticket = Ticket(self.count);
        self.hand_in(index.expect("an agent listens"), Event::Operator(ticket, command));
    }
}

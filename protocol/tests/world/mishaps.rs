//! **mishaps** — what goes wrong beside machines: objects that are damaged or gone, members changed
//! by hand, volumes at the wrong machine.

use super::{World, etcd::Peer};
use protocol::{cluster::member_id, event::Command, wire};

impl World {
    /// `snapshot`: the newest one's data; `snapshots`: all data; `plan`: every plan; `bucket`:
    /// everything in it; `logs`: etcd refuses copies of members.
    pub(super) fn damage(&mut self, what: &str) {
        match what {
            "snapshot" => {
                let inc = self.records().ctrl.map_or(0, |ctrl| ctrl.inc.max(1));
                let uid = self.store.uid().expect("founded");
                let all = (1..=inc).flat_map(|inc| self.store.manifests(&uid, inc));
                let newest = all.max_by_key(|manifest| (manifest.inc, manifest.revision));
                let sha256 = newest.expect("a snapshot was taken").sha256;
                let key = format!("{sha256}");
                let content = self.store.contents.remove(&key).expect("data of a manifest");
                self.spoilt.insert(key, content);
            }
            "snapshots" => self.spoilt.append(&mut self.store.contents),
            "plan" => self.store.objects.retain(|key, _| !key.contains("/plan/")),
            "bucket" => self.store.objects.clear(),
            "logs" => self.logs_refused = true,
            _ => panic!("no such damage: {what}"),
        }
        self.say("", &format!("!! damage {what}"));
    }

    /// Damaged snapshots are put back.
    pub(super) fn mend(&mut self) {
        self.store.contents.append(&mut self.spoilt);
        self.say("", "!! mend snapshots");
    }

    /// An operator changes etcd's members without us.
    pub(super) fn change_by_hand(&mut self, how: &str, name: &str) {
        let url = format!("http://{name}:2380");
        let led = |m: &&super::Machine| m.etcd.as_ref().is_some_and(|etcd| etcd.leader.is_some());
        let store =
            self.machines.iter().find(led).and_then(|machine| machine.volume.member.clone());
        let store = store.expect("somebody leads");
        let mut peers = store.peers();
        match how {
            "add" | "add-learner" => {
                let id = member_id(&url, "by hand");
                let learner = how == "add-learner";
                peers.push(Peer { id, peer_url: url, learner, started: false });
            }
            "remove" => peers.retain(|peer| peer.peer_url != url),
            _ => panic!("no such change: {how}"),
        }
        self.propose(store.cluster, peers);
        self.say("", &format!("!! by hand: {how} {name}"));
    }

    /// Two machines come back with each other's data volume; both are off.
    pub(super) fn swap_volumes(&mut self, one: &str, other: &str) {
        let at = |name: &str| {
            self.machines.iter().position(|m| m.instance.0 == name).expect("a machine of that name")
        };
        let (one, other) = (at(one), at(other));
        assert!(self.machines[one].etcd.is_none() && self.machines[other].etcd.is_none());
        let volume = std::mem::take(&mut self.machines[one].volume);
        let theirs = std::mem::replace(&mut self.machines[other].volume, volume);
        self.machines[one].volume = theirs;
        self.say("", "!! volumes swapped");
    }

    /// A manifest's key as an operator names it: `oldest`, or the key itself.
    pub(super) fn named(&self, key: &str) -> String {
        if key != "oldest" {
            return key.to_owned();
        }
        let inc = self.records().ctrl.map_or(0, |ctrl| ctrl.inc);
        let uid = self.store.uid().expect("founded");
        let all = self.store.manifests(&uid, inc);
        let oldest = all.iter().min_by_key(|manifest| manifest.revision);
        oldest.expect("a snapshot was taken").key()
    }

    /// An operator answers for the newest doubtful snapshot of that incarnation.
    pub(super) fn adoption(&self, inc: &str) -> Command {
        let inc = inc.parse().expect("an incarnation");
        let all = self.store.manifests(&self.store.uid().expect("founded"), inc);
        let doubted = all.iter().filter(|manifest| manifest.doubt.is_some());
        let newest = doubted.max_by_key(|manifest| manifest.revision);
        let sha256 = newest.expect("a doubtful snapshot").sha256;
        let (by, because) = ("op".to_owned(), "the story says so".to_owned());
        Command::Adopt { sha256, inc, by, because, said: None }
    }

    /// Whether the bucket names a cluster.
    pub(super) fn bucket_knows_us(&self) -> bool {
        self.store.objects.contains_key(&wire::Keys::cluster_json("p"))
    }
}

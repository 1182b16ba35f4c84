//! **plays** — the stories of hosts, one function each: what is done to them, and what must have come of it.
//!
//! Comes from [`stories`](super::stories), which names them. Goes to the checks of a [`Scene`].

use super::{
    Hosts,
    node::{AGENT, ETCD},
    scene::{EXPORTED, Scene},
};
use crate::drill::{status::Status, trouble::Trouble, verdict};

impl Scene {
    pub(super) async fn saved(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        for agent in ["runs", "does not run"] {
            let before = self.exported();
            self.say(format!("`etcdadm save` where an agent {agent}"));
            let said = self.hosts.nodes[0].shell("/opt/bin/etcdadm save").await?;
            let after = self.exported();
            let what = format!("where an agent {agent}, `etcdadm save` exports {EXPORTED}");
            self.checks.note(what, after.is_some() && after != before, said.trim());
            self.hosts.nodes[0].must(&["systemctl", "stop", AGENT]).await?;
            self.load().await?;
        }
        let said = self.hosts.nodes[0].shell("/opt/bin/etcdadm save --timer").await?;
        self.checks.note(
            "the timer of a host without an agent saves",
            said.contains("snap"),
            said.trim(),
        );
        self.hosts.nodes[0].must(&["systemctl", "start", AGENT]).await?;
        let said = self.hosts.nodes[0].shell("/opt/bin/etcdadm save --timer").await?;
        let left = said.contains("by its own clock");
        self.checks.note("the timer of a host with one leaves it to the agent", left, said.trim());
        self.healed_without_restore().await
    }

    pub(super) async fn automated(&mut self) -> Result<(), Trouble> {
        let shown = self.hosts.nodes[0].shell("/opt/bin/requorum config show --origin").await?;
        let mode = shown.lines().find(|line| line.contains("REQUORUM_MODE")).unwrap_or_default();
        let told = mode.contains("automatic") && mode.contains("cluster.yaml");
        self.checks.note("cluster.yaml switches automation on", told, mode);
        for which in ["one", "another"] {
            let before = self.hosts.newest_snapshot().await.unwrap_or(0);
            self.load().await?;
            let what = format!("{which} snapshot is taken by a clock");
            let look =
                async |hosts: &Hosts| hosts.newest_snapshot().await.filter(|at| *at > before);
            let after = self.hosts.until(&what, look).await?;
            self.checks.note(what, true, format!("revision {after} after {before}"));
        }
        self.say("one host loses power and its data volume");
        let before = self.member_id(2).await?;
        self.hosts.power_off(&[2])?;
        self.hosts.nodes[2].empty_volume()?;
        self.hosts.boot(&[2])?;
        self.hosts.nodes[2].must(&["chown", "etcd:etcd", "/var/lib/etcd"]).await?;
        self.another_member(2, before).await?;
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    pub(super) async fn replaced(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let node = &self.hosts.nodes[0];
        self.say(format!(
            "{}: systemctl stop {ETCD}; etcdadm replace; systemctl start {ETCD}",
            node.name
        ));
        let before = self.member_id(0).await?;
        let node = &self.hosts.nodes[0];
        node.must(&["systemctl", "stop", ETCD]).await?;
        self.kept_down(&[0]).await?;
        let node = &self.hosts.nodes[0];
        node.shell("/opt/bin/etcdadm replace").await?;
        node.must(&["systemctl", "start", ETCD]).await?;
        self.another_member(0, before).await?;
        self.healed_without_restore().await?;
        let owner = self.hosts.nodes[0].must(&["stat", "-c", "%U", "/var/lib/etcd/member"]).await?;
        self.checks.equal("its data is etcd's", &owner.trim(), &"etcd");
        self.nothing_lost().await
    }

    pub(super) async fn stopped(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        self.stop_all().await?;
        let says = |status: &Status| status.codes().iter().any(|c| c == "STOPPED_BY_OPERATOR");
        let told = self.hosts.statuses().await.is_some_and(|all| all.iter().all(says));
        self.checks.note("each agent says why it starts nothing", told, "STOPPED_BY_OPERATOR");
        self.say(format!("systemctl start {ETCD} on each, one after the other"));
        self.hosts.one_by_one("start", ETCD).await?;
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    pub(super) async fn stopped_and_restored(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        self.hosts.nodes[0].shell("/opt/bin/etcdadm save").await?;
        self.load().await?;
        self.writer.rest().await?;
        self.stop_all().await?;
        self.say("etcdadm restore --rollback; systemctl start on each, one after the other");
        let words =
            "/opt/bin/etcdadm restore --rollback --because 'the promise of the old documentation'";
        self.hosts.nodes[0].shell(words).await?;
        self.hosts.one_by_one("start", ETCD).await?;
        self.restored().await?;
        let owner =
            self.hosts.nodes[1].must(&["stat", "-c", "%U", "/var/lib/etcd/member/snap/db"]).await?;
        self.checks.equal("what was restored is etcd's", &owner.trim(), &"etcd");
        self.writer.go_on();
        self.account(None).await
    }

    pub(super) async fn quorum_lost(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let victims: Vec<usize> =
            (1..self.hosts.nodes.len()).take(self.hosts.nodes.len() / 2 + 1).collect();
        self.say("a majority of the hosts lose power, and their data volumes");
        self.hosts.power_off(&victims)?;
        let known = verdict::own_view(&self.hosts.nodes[0].client_url).await?.0;
        for index in &victims {
            self.hosts.nodes[*index].empty_volume()?;
        }
        self.hosts.boot(&victims)?;
        for index in &victims {
            // another disk belongs to root, until kube-aws's unit gives it to etcd
            self.hosts.nodes[*index].must(&["chown", "etcd:etcd", "/var/lib/etcd"]).await?;
        }
        self.restored().await?;
        self.account(Some(known)).await
    }

    pub(super) async fn power_cut(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let all: Vec<usize> = (0..self.hosts.nodes.len()).collect();
        self.say("all hosts lose power, and boot again");
        self.hosts.power_off(&all)?;
        self.hosts.boot(&all)?;
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    pub(super) async fn restarting(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        self.say(format!("{ETCD} is killed, and stopped before systemd starts it again"));
        self.hosts.nodes[0].must(&["systemctl", "kill", "-s", "KILL", ETCD]).await?;
        self.hosts
            .until("systemd is about to start etcd again", async |hosts| {
                let words = ["systemctl", "show", "-P", "SubState", ETCD];
                let sub = hosts.nodes[0].must(&words).await.ok()?;
                (sub.trim() == "auto-restart").then_some(())
            })
            .await?;
        self.hosts.nodes[0].must(&["systemctl", "stop", ETCD]).await?;
        self.kept_down(&[0]).await?;
        self.hosts.nodes[0].must(&["systemctl", "mask", "--runtime", ETCD]).await?;
        let refused = self.hosts.nodes[0].run(&["systemctl", "start", ETCD]).await?;
        self.checks.note(
            "a masked unit is not started",
            !refused.status.success(),
            "systemctl start",
        );
        self.kept_down(&[0]).await?;
        self.hosts.nodes[0].must(&["systemctl", "unmask", "--runtime", ETCD]).await?;
        self.hosts.nodes[0].must(&["systemctl", "start", ETCD]).await?;
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    pub(super) async fn no_gate(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let file = "/etc/systemd/system/etcd-member.service.d/90-operator.conf";
        self.say(format!("{file} says ExecCondition="));
        let node = &self.hosts.nodes[0];
        let before = node.must(&["systemctl", "show", "-P", "MainPID", ETCD]).await?;
        node.machine.put(file, "[Service]\nExecCondition=\n", 0o644)?;
        node.must(&["systemctl", "daemon-reload"]).await?;
        let restarted = node.run(&["systemctl", "restart", AGENT]).await?;
        let journal = node.journal().await;
        let said = journal.lines().find(|line| line.contains("has no gate")).unwrap_or_default();
        let refused = !restarted.status.success() && !said.is_empty();
        self.checks.note("the agent does not run, and says why", refused, said);
        let node = &self.hosts.nodes[0];
        let after = node.must(&["systemctl", "show", "-P", "MainPID", ETCD]).await?;
        node.must(&["rm", file]).await?;
        node.must(&["systemctl", "daemon-reload"]).await?;
        node.must(&["systemctl", "restart", AGENT]).await?;
        self.checks.equal("etcd went on running", &after, &before);
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }

    pub(super) async fn agents_end(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        let mut before = Vec::new();
        for node in &self.hosts.nodes {
            before.push(node.must(&["systemctl", "show", "-P", "MainPID", ETCD]).await?);
        }
        self.say("agents: SIGKILL; systemctl daemon-reload; daemon-reexec; restart");
        for node in &self.hosts.nodes {
            node.must(&["systemctl", "kill", "-s", "KILL", AGENT]).await?;
            node.must(&["systemctl", "daemon-reload"]).await?;
            node.must(&["systemctl", "daemon-reexec"]).await?;
        }
        self.hosts.one_by_one("restart", AGENT).await?;
        self.load().await?;
        self.healed_without_restore().await?;
        let mut after = Vec::new();
        for node in &self.hosts.nodes {
            after.push(node.must(&["systemctl", "show", "-P", "MainPID", ETCD]).await?);
        }
        self.checks.equal("etcd went on running", &after, &before);
        let security = self.hosts.nodes[0].must(&["systemd-analyze", "security", AGENT]).await?;
        let line =
            security.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
        let score =
            line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap_or(10.0);
        self.checks.note(
            "the agent's sandbox scores 3.0 or better",
            score <= 3.0,
            score.to_string(),
        );
        self.nothing_lost().await
    }

    pub(super) async fn gate_alone(&mut self) -> Result<(), Trouble> {
        self.load().await?;
        self.say(
            "no agent runs, neither store answers; systemctl restart on each, one after the other",
        );
        self.hosts.one_by_one("stop", AGENT).await?;
        self.hosts.cut_stores(true);
        self.hosts.one_by_one("restart", ETCD).await?;
        self.load().await?;
        for node in &self.hosts.nodes {
            let state = node.state_of(ETCD).await?;
            let what = format!("{} was started by its own record", node.name);
            self.checks.equal(&what, &state.as_str(), &"active");
        }
        self.hosts.cut_stores(false);
        self.hosts.one_by_one("start", AGENT).await?;
        self.healed_without_restore().await?;
        self.nothing_lost().await
    }
}

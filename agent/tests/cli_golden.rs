//! **cli_golden** — what operators and their scripts read, frozen: every verb's help, tables,
//! documents, failures with their exit codes. `UPDATE_GOLDEN=1` writes the files anew; the diff is
//! then reviewed like code, since documents and codes only grow.

use agent::{
    local::{
        check::{Check, Looked},
        documents::Status,
    },
    render,
};
use protocol::{
    cluster::{ClusterId, MemberId},
    observation::{Alarm, Answer},
};
use std::{fs, path::Path, process::Command};

const VERBS: [&str; 18] = [
    "agent",
    "status",
    "explain",
    "save",
    "restore",
    "replace",
    "attest",
    "approve",
    "abort",
    "pause",
    "resume",
    "check",
    "cluster-is-healthy",
    "member-is-leader",
    "reconfigure",
    "create-table",
    "compact",
    "defrag",
];

/// Compares with the golden file; all trailing white space is cut, as an editor would.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let text = format!("{}\n", lines.join("\n").trim_end());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).expect("the golden file can be written");
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{name} differs; UPDATE_GOLDEN=1 writes it anew, review the diff");
}

/// Runs the binary with nothing but these variables: exit code, stdout and stderr in one text.
fn run(words: &[&str], env: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_requorum"))
        .args(words)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .expect("the binary runs");
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().expect("it ended by itself");
    format!("$ requorum {}\n[exit {code}]\n{out}[stderr]\n{err}\n", words.join(" "))
}

#[test]
fn every_verb_explains_itself() {
    golden("help.txt", &run(&["--help"], &[]));
    let short: String = VERBS.iter().map(|verb| run(&[verb, "-h"], &[])).collect();
    golden("help_verbs.txt", &short);
}

#[test]
fn failures_have_codes_causes_and_a_next_command() {
    let state = tempfile::tempdir().expect("a scratch directory");
    let dir = state.path().to_str().expect("its name is text");
    let runs = [
        run(&["status", "--state-dir", dir], &[]),
        run(&["explain", "-o", "json"], &[("REQUORUM_STATE_DIR", dir)]),
        run(&["approve", "7", "--state-dir", dir], &[]),
        run(&["approve", "seven"], &[]),
        run(&["restore"], &[]),
        run(&["check"], &[]),
        run(&["check", "--env-file", "/nonexistent"], &[]),
        run(&["check"], &[("REQUORUM_TABEL", "x")]),
        run(&["agent"], &[("ETCD_NAME", "etcd0"), ("ETCD_INITIAL_CLUSTER", "etcd0")]),
        run(&["status", "-w", "0"], &[]),
    ];
    golden("failures.txt", &runs.concat().replace(dir, "STATE"));
}

#[test]
fn a_check_without_any_member_says_that_no_quorum_is_proven() {
    // 127.0.0.1:1 refuses: nobody may listen there without privileges, and nobody does
    let env = [
        ("ETCD_NAME", "etcd0"),
        ("ETCD_INITIAL_CLUSTER", "etcd0=http://127.0.0.1:2,etcd1=http://127.0.0.2:2"),
        ("ETCD_ADVERTISE_CLIENT_URLS", "http://127.0.0.1:1"),
        ("ETCD_DATA_DIR", "/var/lib/etcd2"),
        ("ETCDADM_CLUSTER_SNAPSHOTS_S3_URI", "s3://bucket/prefix"),
        ("REQUORUM_ETCD_DIR", "/opt/etcd"),
        ("REQUORUM_INSTANCE", "i-1"),
    ];
    golden("check.txt", &(run(&["check"], &env) + &run(&["check", "-o", "json"], &env)));
}

#[test]
fn the_old_name_says_the_new_one() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let old = dir.path().join("etcdadm");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_requorum"), &old).expect("linked");
    let output = Command::new(&old).arg("member_status_set_started").env_clear().output();
    let output = output.expect("the binary runs");
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "requorum: this verb is now called `requorum member-status-set-started`\n"
    );
}

#[test]
fn a_document_of_version_1_reads_and_shows() {
    for name in ["quiet", "recovering", "unknown"] {
        let path = format!("{}/tests/golden/status_{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&path).expect("the fixed document is there");
        let status: Status = serde_json::from_str(&text).expect("it reads");
        golden(&format!("status_{name}.json"), &render::json_text(&status));
        golden(&format!("status_{name}.txt"), &render::status_text(&status));
        golden(&format!("explain_{name}.txt"), &render::explain_text(&status));
        golden(&format!("metrics_{name}.txt"), &render::metrics_text(&status));
    }
}

#[test]
fn a_check_shows_each_member() {
    let answer = |leads: bool, alarms: Vec<Alarm>| {
        Answer::Status(protocol::observation::Status {
            cluster_id: ClusterId(1),
            member_id: MemberId(2),
            leader: leads.then_some(MemberId(2)),
            term: 4,
            applied: 99,
            revision: 4_193_112,
            linearizable: true,
            learner: false,
            alarms,
            version: "3.5.30".into(),
            check: None,
        })
    };
    let refused = Answer::Refused { why: "user name is empty".into(), quorum: None };
    let hidden =
        Check::new(vec![Looked::new("etcd0".into(), "https://10.0.0.1:2379".into(), &refused)]);
    assert_eq!(hidden.verdict, "not-allowed");
    let rows =
        [answer(true, vec![Alarm::NoSpace]), answer(false, Vec::new()), Answer::Silent, refused];
    let rows = rows.iter().enumerate().map(|(slot, answer)| {
        Looked::new(format!("etcd{slot}"), format!("https://10.0.0.{slot}:2379"), answer)
    });
    let check = Check::new(rows.collect());
    assert_eq!(check.verdict, "degraded");
    golden("check_table.txt", &render::check_text(&check));
    golden("check.json", &render::json_text(&check));
}

/// The manual and completions name what the command line has; their wording is clap's.
#[test]
fn what_a_package_ships_is_generated() {
    let man = run(&["generate", "man"], &[]);
    assert!(man.contains(".TH requorum 1") && man.contains("reconfigure"), "{man}");
    for (shell, mark) in
        [("bash", "complete -F"), ("zsh", "#compdef requorum"), ("fish", "complete -c")]
    {
        let text = run(&["generate", shell], &[]);
        assert!(text.contains(mark) && text.contains("cluster-is-healthy"), "{shell}: {text}");
    }
    let dir = tempfile::tempdir().expect("a scratch directory");
    run(&["generate", "man", "--into", dir.path().to_str().expect("a plain path")], &[]);
    for page in ["requorum.1", "requorum-restore.1", "requorum-snapshot-ls.1"] {
        assert!(dir.path().join(page).is_file(), "{page}");
    }
}

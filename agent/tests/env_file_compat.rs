//! **env_file_compat** — environment files as kube-aws and operators write them, read as systemd
//! reads them (src/basic/env-file.c).

use agent::config::{self, Environment, env_file::parse, flags::Flags};
use std::{ffi::OsString, io::Write};

fn said(text: &str, name: &str) -> Option<String> {
    parse(text).expect("the file is sound").get(name).cloned()
}

const KUBE_AWS: &str = r#"# written by cfn-etcd-environment; do not edit \
AWS_DEFAULT_REGION='eu-west-1'
ETCD_VERSION=3.5.30
; the member
ETCD_NAME=etcd0
ETCD_DATA_DIR="/var/lib/etcd2"   
ETCD_INITIAL_CLUSTER=etcd0=https://ip-10-0-0-4.eu-west-1.compute.internal:2380,\
etcd1=https://ip-10-0-0-5.eu-west-1.compute.internal:2380,\
etcd2=https://ip-10-0-0-6.eu-west-1.compute.internal:2380
ETCD_INITIAL_CLUSTER_STATE=new
ETCD_LISTEN_CLIENT_URLS=https://0.0.0.0:2379
ETCD_ADVERTISE_CLIENT_URLS=https://ip-10-0-0-4.eu-west-1.compute.internal:2379
ETCD_LISTEN_PEER_URLS=https://0.0.0.0:2380

ETCDCTL_CACERT='/etc/ssl/certs/etcd-trusted-ca.pem'
ETCDCTL_CERT='/etc/ssl/certs/etcd-client.pem'
ETCDCTL_KEY='/etc/ssl/certs/etcd-client-key.pem'
ETCDCTL_CA_FILE='/etc/ssl/certs/etcd-trusted-ca.pem'
ETCDCTL_CERT_FILE='/etc/ssl/certs/etcd-client.pem'
ETCDCTL_KEY_FILE='/etc/ssl/certs/etcd-client-key.pem'
ETCD_CERT_FILE=/etc/ssl/certs/etcd.pem

ETCDADM_MEMBER_COUNT=3
ETCDADM_CLUSTER_SNAPSHOTS_S3_URI='s3://kube-prod/kube-aws/clusters/prod/backup/etcd'
ETCDADM_CLUSTER_FAILURE_PERIOD_LIMIT=10
export REQUORUM_ETCD_ARGS="--quota-backend-bytes 8589934592  --auto-compaction-retention=\"8h\""
REQUORUM_ETCD_DIR=/opt/etcd
not a setting at all
"#;

#[test]
fn a_file_of_kube_aws_settles() {
    let mut file = tempfile::NamedTempFile::new().expect("a scratch file");
    file.write_all(KUBE_AWS.as_bytes()).expect("written");
    let flags = Flags {
        env_file: Some(file.path().to_owned()),
        instance: Some("i-0abc".into()),
        ..Flags::default()
    };
    let process = [("ETCD_NAME", "etcd1"), ("ETCD_DATA_DIR", ""), ("PATH", "/nowhere")];
    let process = process.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let env = config::environment(&flags, process.into_iter()).expect("gathered");
    let settings = config::settle(&env).expect("settled");
    assert_eq!(settings.name, "etcd1", "the environment goes before the file");
    assert_eq!(settings.data_dir.to_str(), Some("/var/lib/etcd2"), "empty is not said");
    assert_eq!(settings.seats.len(), 3);
    assert_eq!(settings.seats[2].client_url, "https://ip-10-0-0-6.eu-west-1.compute.internal:2379");
    assert_eq!(settings.bucket, "kube-prod");
    assert_eq!(settings.prefix, "kube-aws/clusters/prod/backup/etcd");
    assert_eq!(settings.etcd_args[2], "--auto-compaction-retention=\"8h\"");
    let certificates = settings.certificates.expect("clients come in by TLS");
    assert_eq!(certificates.ca.to_str(), Some("/etc/ssl/certs/etcd-trusted-ca.pem"));
    assert_eq!(certificates.host, "ip-10-0-0-4.eu-west-1.compute.internal");
    let of_etcd = |name: &str| settings.etcd_environment.iter().find(|(said, _)| said == name);
    assert!(of_etcd("ETCD_CERT_FILE").is_some(), "etcd is told what the file says of it");
    assert!(of_etcd("ETCDADM_MEMBER_COUNT").is_none() && of_etcd("PATH").is_none());
}

#[test]
fn quotes_and_backslashes_are_systemds() {
    let cases = [
        ("A=b", "b"),
        ("A = b ", "b"),
        ("A=b  # no comment", "b  # no comment"),
        ("A='b  '", "b  "),
        ("A=\"b\\\"c\\$d\\n\"", "b\"c$d\\n"),
        ("A='b\\n'", "b\\n"),
        ("A=b\\ \n", "b "),
        ("A=b\\\nc", "bc"),
        ("A=\"b\\\nc\"", "bc"),
        ("A='b'c", "bc"),
        ("A=\"b\nc\"", "b\nc"),
        ("A=b\r\nB=c", "b"),
        ("A=1\nA=2", "2"),
        ("A=", ""),
        ("  A=b", "b"),
        ("# x \\\nA=b", "b"),
        ("A=$B", "$B"),
        ("export A=b", "b"),
    ];
    for (text, value) in cases {
        assert_eq!(said(text, "A").as_deref(), Some(value), "{text:?}");
    }
}

#[test]
fn what_is_no_assignment_is_ignored() {
    let none = Environment::new();
    for text in ["", "A", "# A=b", "; A=b", "1A=b", "A B=c", "=b"] {
        assert_eq!(parse(text).expect("sound"), none, "{text:?}");
    }
}

#[test]
fn an_open_quote_is_named_by_its_line() {
    for text in ["A=1\nB='2\nC=3\n", "A=1\nB=\"2\\"] {
        let error = parse(text).expect_err("open quote");
        assert_eq!(error.to_string(), "the quote opened on line 2 is never closed");
    }
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let flags = Flags { env_file: Some("/nonexistent/env".into()), ..Flags::default() };
    let problem = config::environment(&flags, std::iter::empty()).expect_err("absent");
    assert!(problem.sentence.contains("/nonexistent/env"), "{problem}");
    assert!(problem.next.is_some_and(|next| next.contains("--env-file")));
}

#[test]
fn what_the_gate_wrote_for_an_earlier_start_is_no_setting() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (env_file, member_file) = (dir.path().join("env"), dir.path().join("member.env"));
    let text = format!(
        "ETCD_LISTEN_CLIENT_URLS=https://0.0.0.0:2379\nETCDADM_MEMBER_ENV_FILE={}\n",
        member_file.display()
    );
    std::fs::write(&env_file, text).expect("written");
    let flags = Flags { env_file: Some(env_file), ..Flags::default() };
    let gathered = |client_urls: &str| {
        let process = [("ETCD_LISTEN_CLIENT_URLS", client_urls), ("ETCD_INITIAL_CLUSTER", "")];
        let process = process.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let env = config::environment(&flags, process.into_iter()).expect("gathered");
        env["ETCD_LISTEN_CLIENT_URLS"].clone()
    };
    assert_eq!(gathered("unixs:///run/a.sock"), "unixs:///run/a.sock", "nobody wrote it before");
    std::fs::write(&member_file, "ETCD_LISTEN_CLIENT_URLS=\"unixs:///run/a.sock\"\n")
        .expect("written");
    assert_eq!(gathered("unixs:///run/a.sock"), "https://0.0.0.0:2379");
    assert_eq!(gathered("https://10.0.0.1:2379"), "https://10.0.0.1:2379", "a unit's own word");
}

#[test]
fn each_setting_knows_who_said_it() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let (env_file, yaml) = (dir.path().join("env"), dir.path().join("cluster.yaml"));
    let text = format!(
        "{KUBE_AWS}\nREQUORUM_CLUSTER_YAML={}\nREQUORUM_MODE=ask\nREQUORUM_INSTANCE=i-0abc\n",
        yaml.display()
    );
    std::fs::write(&env_file, text).expect("written");
    let said = "etcd:\n  count: 3\n  snapshot: {automated: true, interval: 2m}\n  disasterRecovery: {automated: true}\n";
    std::fs::write(&yaml, said).expect("written");
    let flags =
        Flags { env_file: Some(env_file.clone()), table: Some("t".into()), ..Flags::default() };
    let process = [(OsString::from("ETCD_NAME"), OsString::from("etcd1"))];
    let gathered = config::gathered(&flags, process.clone().into_iter(), true).expect("gathered");
    let env = config::environment(&flags, process.into_iter()).expect("gathered");
    let settings = config::settle(&env).expect("settled");
    let rows = config::shown(&settings, &gathered);
    let row = |name: &str| {
        let row = rows.iter().find(|row| row.name == name).expect(name);
        (row.value.as_str(), row.origin.as_deref())
    };
    let (env_file, yaml) = (env_file.to_str(), yaml.to_str());
    assert_eq!(row("REQUORUM_TABLE"), ("t", Some("flag")));
    assert_eq!(row("ETCD_NAME"), ("etcd1", Some("environment")));
    assert_eq!(row("REQUORUM_MODE"), ("ask", env_file), "a file goes before cluster.yaml");
    assert_eq!(row("REQUORUM_SNAPSHOT_INTERVAL"), ("120s", yaml));
    assert_eq!(row("REQUORUM_THRESHOLD"), ("quorum", None));
    assert_eq!(row("REQUORUM_SERVICE"), ("exec", None));
    // kube-aws's ten seconds are too short to hear of a living quorum
    assert_eq!(row("ETCDADM_CLUSTER_FAILURE_PERIOD_LIMIT"), ("15", env_file));
}

#[test]
fn a_gate_answers_although_a_guard_is_misspelt() {
    let mut env: Environment = parse(KUBE_AWS).expect("sound");
    env.insert("REQUORUM_INSTANCE".into(), "i-0abc".into());
    env.insert("REQUORUM_MIN_MEMBER".into(), "2".into());
    env.insert("ETCD_CLUSTER_FAILURE_PERIOD_LIMIT".into(), "soon".into());
    assert!(config::settle(&env).is_err(), "no agent runs with that");
    let settings = config::settle_gate(&env).expect("a gate does");
    assert_eq!((settings.name.as_str(), settings.seats.len()), ("etcd0", 3));
    env.remove("ETCD_DATA_DIR");
    let problem = config::settle_gate(&env).expect_err("it needs to know where the data is");
    assert!(problem.sentence.contains("ETCD_DATA_DIR"), "{problem}");
}

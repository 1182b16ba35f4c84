//! **tls** — members whose clients come in by TLS: by their port and, in quarantine, by their socket; with
//! certificates that are renewed meanwhile, and where etcd knows its users by them.

mod common;

use agent::{
    adapters::{
        etcd_client::{Certificates, EtcdClient},
        etcd_command::ExecConfig,
        exec::Exec,
    },
    ports::{
        etcd::{Door, Etcd},
        service::Service,
    },
};
use common::{dirs::Dirs, etcd_dir, free_port};
use protocol::{
    cluster::{cluster_id, member_id},
    effect::{Expected, Join, Start},
    observation::{Answer, Process, Status},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(5);
/// Far longer than anything here takes; only a hang meets it.
const LONG: Duration = Duration::from_secs(60);

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let file = dir.join(format!("{name}.pem"));
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(&file, certificate.pem()).expect("written");
        Self { issuer: Issuer::new(params, key), file }
    }

    /// A certificate and its key, in these files.
    fn issue(&self, name: &str, (certificate, key): (&Path, &Path)) {
        let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let own = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&own, &self.issuer).expect("signed");
        fs::write(certificate, signed.pem()).expect("written");
        fs::write(key, own.serialize_pem()).expect("written");
    }

    /// The same in new files, for a client of that name.
    fn client(&self, dir: &Path, name: &str) -> Certificates {
        let own = (dir.join(format!("{name}.pem")), dir.join(format!("{name}-key.pem")));
        self.issue(name, (&own.0, &own.1));
        Certificates { ca: self.file.clone(), own: Some(own), host: "127.0.0.1".into() }
    }
}

/// A member that takes only clients with a certificate; stopped when dropped.
struct Member {
    dirs: Dirs,
    authority: Authority,
    config: ExecConfig,
}

impl Member {
    fn new() -> Self {
        let dirs = Dirs::new();
        let authority = Authority::new(dirs.root.path(), "authority");
        let own = authority.client(dirs.root.path(), "server").own.expect("a certificate");
        let set = |name: &str, path: &Path| (name.to_owned(), path.display().to_string());
        let environment = vec![
            set("ETCD_CERT_FILE", &own.0),
            set("ETCD_KEY_FILE", &own.1),
            set("ETCD_TRUSTED_CA_FILE", &authority.file),
            ("ETCD_CLIENT_CERT_AUTH".to_owned(), "true".to_owned()),
        ];
        let peer_url = format!("http://127.0.0.1:{}", free_port());
        let client_url = format!("https://127.0.0.1:{}", free_port());
        let config = ExecConfig {
            etcd_dir: etcd_dir(),
            data_dir: dirs.data(),
            state_dir: dirs.state(),
            socket: dirs.state().join("etcd.sock"),
            name: "a".to_owned(),
            peer_url: peer_url.clone(),
            listen_peer_urls: vec![peer_url],
            client_urls: vec![client_url.clone()],
            advertise_client_urls: vec![client_url],
            secure: true,
            environment,
            extra_args: Vec::new(),
        };
        Self { dirs, authority, config }
    }

    fn exec(&self) -> Exec {
        Exec::new(self.config.clone())
    }

    fn start(&self, quarantined: bool, founds: bool) -> Start {
        let id = member_id(&self.config.peer_url, "token");
        let member = Expected { member_id: id, cluster_id: Some(cluster_id([id])) };
        let join = founds.then(|| Join {
            initial_cluster: format!("a={}", self.config.peer_url),
            token: "token".to_owned(),
            existing: false,
        });
        Start { quarantined, member, join }
    }

    /// Founds it, open to clients, and waits until it serves.
    async fn open(&self, as_whom: &Certificates) {
        self.exec().start(&self.start(false, true)).await.expect("started");
        serves(as_whom, &self.door()).await;
    }

    fn door(&self) -> Door {
        Door::Client(self.config.client_urls[0].clone())
    }

    fn client(&self, name: &str) -> Certificates {
        self.authority.client(self.dirs.root.path(), name)
    }

    fn etcdctl(&self, as_whom: &Certificates, args: &[&str]) {
        let (certificate, key) = as_whom.own.as_ref().expect("a certificate");
        let mut command = Command::new(etcd_dir().join("etcdctl"));
        command.args(["--endpoints", &self.config.client_urls[0], "--cacert"]).arg(&as_whom.ca);
        command.arg("--cert").arg(certificate).arg("--key").arg(key).args(args);
        let output = command.output().expect("etcdctl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {args:?}: {said}");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let exec = self.exec();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            _ = runtime.block_on(exec.stop());
        })
        .join()
        .expect("the member is stopped");
    }
}

fn etcd(as_whom: &Certificates) -> EtcdClient {
    EtcdClient::new(PATIENCE, PATIENCE).trusting(Some(as_whom.clone()))
}

/// Waits until it proves a quorum.
async fn serves(as_whom: &Certificates, door: &Door) -> Status {
    let asked = async {
        loop {
            match etcd(as_whom).probe(door).await {
                Answer::Status(status) if status.linearizable => return status,
                Answer::Status(_) | Answer::Refused { .. } | Answer::Silent => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("it serves")
}

/// It is there, and does not let us ask: that is not silence.
async fn is_refused(client: &EtcdClient, door: &Door) -> bool {
    matches!(client.probe(door).await, Answer::Refused { .. })
}

#[tokio::test]
async fn a_member_is_asked_by_its_socket_and_by_its_port() {
    let member = Member::new();
    let (exec, agent) = (member.exec(), member.client("agent"));
    exec.start(&member.start(true, true)).await.expect("started");
    let socket = Door::Socket(exec.socket());
    let first = serves(&agent, &socket).await;
    assert_eq!(exec.state().await, Process::Running { quarantined: true });
    let closed = etcd(&agent).probe(&member.door()).await;
    assert_eq!(closed, Answer::Silent, "no client gets in");
    exec.stop().await.expect("stopped");
    exec.start(&member.start(false, false)).await.expect("started");
    assert_eq!(serves(&agent, &member.door()).await.member_id, first.member_id);
    assert_eq!(exec.state().await, Process::Running { quarantined: false });

    let plain = EtcdClient::new(PATIENCE, PATIENCE);
    assert!(is_refused(&plain, &member.door()).await, "nobody told whom to believe");
    let nameless = Certificates { own: None, ..agent.clone() };
    assert!(is_refused(&etcd(&nameless), &member.door()).await, "etcd asks who we are");
    let other = Authority::new(member.dirs.root.path(), "other");
    let misled = Certificates { ca: other.file, ..agent };
    assert!(is_refused(&etcd(&misled), &member.door()).await, "this is not the member we know");
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_used_at_once() {
    let member = Member::new();
    let operator = member.client("operator");
    member.open(&operator).await;
    let stranger = Authority::new(member.dirs.root.path(), "stranger");
    let of_stranger = stranger.client(member.dirs.root.path(), "agent");
    let agent = Certificates { ca: member.authority.file.clone(), ..of_stranger };
    let client = etcd(&agent);
    assert!(is_refused(&client, &member.door()).await, "its certificate is of no worth here");
    let (certificate, key) = agent.own.as_ref().expect("a certificate");
    member.authority.issue("agent", (certificate, key));
    let renewed = client.probe(&member.door()).await;
    assert!(matches!(renewed, Answer::Status(_)), "the same client reads it anew");
    fs::remove_file(key).expect("it was there");
    let refused = client.members(&member.door()).await.expect_err("no key is left");
    assert!(refused.0.contains("agent-key.pem"), "{refused}");
    member.authority.issue("agent", (certificate, key));
    let server = member.dirs.root.path().join("server.pem");
    member.authority.issue("renewed", (&server, &member.dirs.root.path().join("server-key.pem")));
    assert!(matches!(client.probe(&member.door()).await, Answer::Status(_)), "etcd does likewise");
}

#[tokio::test]
async fn where_etcd_knows_users_a_certificate_is_one() {
    let member = Member::new();
    let (root, nobody) = (member.client("root"), member.client("nobody"));
    member.open(&root).await;
    member.etcdctl(&root, &["put", "a", "b"]);
    member.etcdctl(&root, &["user", "add", "root", "--no-password"]);
    member.etcdctl(&root, &["role", "add", "root"]);
    member.etcdctl(&root, &["user", "grant-role", "root", "root"]);
    member.etcdctl(&root, &["auth", "enable"]);

    let (door, client) = (member.door(), etcd(&root));
    let status = serves(&root, &door).await;
    assert_eq!(client.live_keys(&door, status.revision).await, Ok(1));
    client.hash_kv(&door, status.revision).await.expect("root may ask for it");
    assert_eq!(client.members(&door).await.expect("root may ask for them").len(), 1);
    let mut snapshot = client.snapshot(&door).await.expect("root may take one");
    let mut bytes = Vec::new();
    while snapshot.next(&mut bytes).await.expect("it comes whole") {}
    assert_eq!(snapshot.streamed().expect("all has come").revision, status.revision);

    assert!(is_refused(&etcd(&nobody), &door).await, "who is nobody there sees nothing of it");
    assert!(etcd(&nobody).live_keys(&door, status.revision).await.is_err());
}

//! **etcd_tls** — the certificates that lead to etcd's clients' port.
//!
//! Comes in: the names of etcdctl, in the spelling of its third API (`ETCDCTL_CACERT`) and of its second
//! (`ETCDCTL_CA_FILE`); kube-aws sets both. Goes out: paths, or a sentence that names what is missing. They
//! are not opened here: a certificate may be renewed at any time.

use super::{Environment, wrong};
use crate::{
    adapters::etcd_client::Certificates,
    exit::{Code, Problem},
};
use protocol::cluster::Seat;
use std::path::PathBuf;

const CA: [&str; 2] = ["ETCDCTL_CACERT", "ETCDCTL_CA_FILE"];
const CERTIFICATE: [&str; 2] = ["ETCDCTL_CERT", "ETCDCTL_CERT_FILE"];
const KEY: [&str; 2] = ["ETCDCTL_KEY", "ETCDCTL_KEY_FILE"];

/// What leads to the members, if they speak TLS. All do, or none.
pub(super) fn certificates(
    env: &Environment,
    seats: &[Seat],
    mine: &Seat,
) -> Result<Option<Certificates>, Problem> {
    same_scheme(env, mine)?;
    let is_secure = |seat: &&Seat| seat.client_url.starts_with("https://");
    let secure = seats.iter().filter(is_secure).count();
    if secure == 0 {
        return Ok(None);
    }
    if secure < seats.len() {
        let urls: Vec<&str> = seats.iter().map(|seat| seat.client_url.as_str()).collect();
        let wanted = "https:// for all members, or http:// for all";
        return Err(wrong("REQUORUM_CLIENT_URLS", &urls.join(","), wanted));
    }
    let ca = path(env, CA)?.ok_or_else(|| {
        let sentence = format!("{}'s clients come in by TLS, and {} is not set", mine.name, CA[0]);
        Problem::new(Code::Usage, sentence)
            .next("name the file of the CA that signed etcd's certificates in ETCDCTL_CACERT")
    })?;
    let own = match (path(env, CERTIFICATE)?, path(env, KEY)?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            let (set, missing) = match certificate {
                Some(_) => (CERTIFICATE[0], KEY[0]),
                None => (KEY[0], CERTIFICATE[0]),
            };
            let sentence = format!("{set} is set and {missing} is not: one is of no use alone");
            return Err(Problem::new(Code::Usage, sentence).next(format!("set {missing}=FILE")));
        }
    };
    Ok(Some(Certificates { ca, own, host: host(&mine.client_url).to_owned() }))
}

/// A member that is asked without TLS where it listens by TLS only, or the other way about, is silent
/// for ever: it would be taken for one without a quorum, and fenced.
fn same_scheme(env: &Environment, mine: &Seat) -> Result<(), Problem> {
    let key = "ETCD_LISTEN_CLIENT_URLS";
    let Some(listens) = env.get(key) else { return Ok(()) };
    let (scheme, _) = mine.client_url.split_once("://").unwrap_or((&mine.client_url, ""));
    let is_same = |url: &str| url.trim().split_once("://").is_some_and(|(own, _)| own == scheme);
    if listens.split(',').any(is_same) {
        return Ok(());
    }
    let wanted = format!("{scheme}://..., as clients reach {} at {}", mine.name, mine.client_url);
    Err(wrong(key, listens, &wanted))
}

/// An absolute path, under either name; the newer one goes before.
fn path(env: &Environment, names: [&str; 2]) -> Result<Option<PathBuf>, Problem> {
    let said = names.iter().find_map(|name| env.get(*name).map(|text| (*name, text)));
    let Some((name, text)) = said else { return Ok(None) };
    let path = PathBuf::from(text);
    if path.is_absolute() {
        return Ok(Some(path));
    }
    Err(wrong(name, text, "an absolute path"))
}

/// The host of a URL with a port, without the brackets of an IPv6 address.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once(':').map_or(rest, |(host, _)| host).trim_matches(['[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::cluster::Slot;

    fn seats(schemes: &[&str]) -> Vec<Seat> {
        let seat = |(at, scheme): (usize, &&str)| Seat {
            slot: Slot(u8::try_from(at).expect("few")),
            name: format!("etcd{at}"),
            peer_url: format!("https://etcd{at}.internal:2380"),
            client_url: format!("{scheme}://etcd{at}.internal:2379"),
        };
        schemes.iter().enumerate().map(seat).collect()
    }

    fn settled(schemes: &[&str], set: &[(&str, &str)]) -> Result<Option<Certificates>, Problem> {
        let env = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let seats = seats(schemes);
        certificates(&env, &seats, &seats[0])
    }

    #[test]
    fn both_spellings_are_read() {
        let newer = [("ETCDCTL_CACERT", "/ca"), ("ETCDCTL_CERT", "/c"), ("ETCDCTL_KEY", "/k")];
        let older =
            [("ETCDCTL_CA_FILE", "/ca"), ("ETCDCTL_CERT_FILE", "/c"), ("ETCDCTL_KEY_FILE", "/k")];
        let both = [&newer[..], &older[..]].concat();
        let own = Some(("/c".into(), "/k".into()));
        let wanted = Certificates { ca: "/ca".into(), own, host: "etcd0.internal".into() };
        for set in [&newer[..], &older[..], &both[..]] {
            assert_eq!(settled(&["https", "https"], set), Ok(Some(wanted.clone())));
        }
        assert_eq!(settled(&["http", "http"], &both), Ok(None), "nobody asks for them");
    }

    #[test]
    fn what_leads_nowhere_is_refused_by_name() {
        let ca = ("ETCDCTL_CACERT", "/ca");
        let refused = |schemes: &[&str], set: &[(&str, &str)], named: &str| {
            let problem = settled(schemes, set).expect_err(named);
            assert!(problem.sentence.contains(named) && problem.code == Code::Usage, "{problem}");
        };
        refused(&["https", "http"], &[ca], "REQUORUM_CLIENT_URLS");
        refused(&["https"], &[], "ETCDCTL_CACERT");
        refused(&["https"], &[ca, ("ETCDCTL_CERT", "/c")], "ETCDCTL_KEY");
        refused(&["https"], &[ca, ("ETCDCTL_KEY", "/k")], "ETCDCTL_CERT");
        refused(&["https"], &[("ETCDCTL_CACERT", "ca.pem")], "ETCDCTL_CACERT");
        let listens = |urls| ("ETCD_LISTEN_CLIENT_URLS", urls);
        refused(&["http"], &[listens("https://0.0.0.0:2379")], "ETCD_LISTEN_CLIENT_URLS");
        refused(&["https"], &[ca, listens("http://0.0.0.0:2379")], "ETCD_LISTEN_CLIENT_URLS");
        let both = "http://127.0.0.1:2379, https://10.0.0.1:2379";
        assert!(settled(&["https"], &[ca, listens(both)]).is_ok());
        assert!(settled(&["http"], &[listens(both)]).is_ok());
        refused(&["https"], &[("ETCDCTL_CA_FILE", "ca.pem")], "ETCDCTL_CA_FILE");
    }

    #[test]
    fn hosts_are_read() {
        assert_eq!(host("https://10.0.0.1:2379"), "10.0.0.1");
        assert_eq!(host("https://[::1]:2379"), "::1");
        assert_eq!(host("https://etcd0.internal:2379"), "etcd0.internal");
    }
}

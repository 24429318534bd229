//! The same web configurations for node_exporter and for the drop-in: who is let in, and what neither starts with.

mod harness;
mod system;

use harness::{output, until};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use system::peer::{NODE_EXPORTER, Peer};

const NEEDS: &str = "curl, coreutils and prometheus-node-exporter";

/// A folder with an authority, and what it and another one have signed.
struct Folder {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = Folder { folder, authority: authority("one") };
        folder.write("ca.crt", &folder.authority.pem());
        folder.sign("server", &folder.authority, "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
        folder.sign("client", &folder.authority, "a.example", ExtendedKeyUsagePurpose::ClientAuth);
        let other = authority("another");
        folder.sign("stranger", &other, "a.example", ExtendedKeyUsagePurpose::ClientAuth);
        folder.sign("other", &folder.authority, "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
        folder
    }

    fn sign(
        &self,
        file: &str,
        authority: &CertifiedIssuer<'static, KeyPair>,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, authority).expect("a certificate");
        self.write(&format!("{file}.crt"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in one step.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).expect("a file");
        std::fs::rename(self.path("new"), self.path(name)).expect("a file");
    }

    /// What starts each program with the web configuration of this folder.
    fn programs(&self) -> [(&'static str, Command); 2] {
        let mut there = Command::new(NODE_EXPORTER);
        let mut here = Command::new(harness::release_binary().unwrap_or_else(harness::binary));
        here.arg("node_exporter");
        for command in [&mut there, &mut here] {
            command
                .args(["--web.listen-address=127.0.0.1:0", "--collector.disable-defaults"])
                .arg("--collector.loadavg")
                .arg(format!("--web.config.file={}", self.path("web.yml").display()));
        }
        [("node_exporter", there), ("vitald", here)]
    }

    fn start(&self) -> [(&'static str, Peer); 2] {
        self.programs().map(|(name, command)| (name, Peer::start(command)))
    }

    /// What curl sees: the status (000 for no answer), and the value of a header.
    fn ask(&self, peer: &Peer, url: &str, arguments: &[&str]) -> (String, String) {
        let (scheme, path) = url.split_once(':').expect("a scheme");
        let mut command = Command::new("curl");
        command.current_dir(self.folder.path()).args(["-s", "-o", "/dev/null", "--max-time", "60"]);
        command.args(["--cacert", "ca.crt", "-w", "%{http_code} %header{x-xss-protection}"]);
        command.args(arguments).arg(format!("{scheme}://{}{path}", peer.address()));
        let (_, out, _) = output(&mut command);
        let (status, header) = out.split_once(' ').expect("a status");
        (status.to_owned(), header.to_owned())
    }
}

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

fn users(password: &str) -> String {
    format!("basic_auth_users:\n  alice: {}\n", bcrypt::hash(password, 4).expect("a hash"))
}

#[test]
#[ignore = "needs curl, coreutils and prometheus-node-exporter: cargo test --features full --test system_web_config -- --ignored"]
fn the_same_clients_are_let_in() {
    harness::needs(NEEDS);
    let folder = Folder::new();
    let client: &[&str] = &["--cert", "client.crt", "--key", "client.key"];
    let stranger: &[&str] = &["--cert", "stranger.crt", "--key", "stranger.key"];
    let certificates: &[(&str, &[&str])] =
        &[("https:/metrics", &[]), ("https:/metrics", client), ("https:/metrics", stranger)];
    let plain: &[(&str, &[&str])] = &[
        ("http:/metrics", &[]),
        ("http:/", &["-u", "alice:wrong"]),
        ("http:/metrics", &["-u", "alice:right"]),
        ("http:/metrics", &["-u", "bob:right"]),
        ("http:/metrics", &["-u", "alice:"]),
        ("http:/metrics", &["-H", "Authorization: Bearer right"]),
        ("http:/", &["-u", "alice:right"]),
        ("http:/", &[]),
        ("https:/metrics", &[]),
    ];
    let ca = "  client_ca_file: ca.crt\n";
    let with = |rule: &str, ca: &str| format!("{TLS}{ca}  client_auth_type: {rule}\n");
    let mut compared = 0;
    for (text, requests) in [
        (String::new(), plain),
        (users("right"), plain),
        (
            "http_server_config:\n  headers:\n    X-XSS-Protection: one\n".to_owned()
                + &users("right"),
            plain,
        ),
        (
            TLS.to_owned() + &users("right"),
            &[("https:/", &["-u", "alice:right"][..]), ("https:/", &[])],
        ),
        (TLS.to_owned(), &[("http:/metrics", &[][..]), ("https:/metrics", &["--http1.1"])]),
        (TLS.to_owned(), &[("https:/", &["--tls-max", "1.2"][..]), ("https:/", &["--tlsv1.3"])]),
        (
            format!("{TLS}  min_version: TLS13\n"),
            &[("https:/", &["--tls-max", "1.2"][..]), ("https:/", &[])],
        ),
        (
            format!("{TLS}  max_version: TLS12\n"),
            &[("https:/", &["--tlsv1.3"][..]), ("https:/", &[])],
        ),
        (
            format!("{TLS}  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n"),
            &[
                (
                    "https:/",
                    &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"][..],
                ),
                ("https:/", &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]),
            ],
        ),
        (
            format!("{TLS}  curve_preferences: [CurveP384]\n"),
            &[("https:/", &["--curves", "P-384"][..]), ("https:/", &["--curves", "X25519"])],
        ),
        (with("NoClientCert", ""), certificates),
        (with("RequestClientCert", ""), certificates),
        (with("RequireAnyClientCert", ""), certificates),
        (with("RequireClientCert", ca), certificates),
        (with("VerifyClientCertIfGiven", ca), certificates),
        (with("RequireAndVerifyClientCert", ca), certificates),
    ] {
        folder.write("web.yml", &text);
        let [there, here] = folder.start();
        for (url, arguments) in requests {
            let [of_there, of_here] =
                [&there, &here].map(|(_, peer)| folder.ask(peer, url, arguments));
            println!("{url} {arguments:?}: {of_there:?} {of_here:?}");
            assert_eq!(of_there, of_here, "{url} {arguments:?} with\n{text}");
            compared += 1;
        }
    }
    assert!(compared >= 50, "{compared}");
}

#[test]
#[ignore = "needs curl, coreutils and prometheus-node-exporter: cargo test --features full --test system_web_config -- --ignored"]
fn a_file_that_changes_counts_in_both() {
    harness::needs(NEEDS);
    let folder = Folder::new();
    folder.write("web.yml", &(TLS.to_owned() + &users("right")));
    let programs = folder.start();
    let status = |peer, password: &str| {
        folder.ask(peer, "https:/metrics", &["-u", &format!("alice:{password}")]).0
    };
    let served = |peer: &Peer| {
        let mut command = Command::new("curl");
        command.current_dir(folder.folder.path()).args([
            "-s",
            "-o",
            "/dev/null",
            "--cacert",
            "ca.crt",
        ]);
        command.args(["-w", "%{certs}"]).arg(format!("https://{}/", peer.address()));
        let (_, out, _) = output(&mut command);
        let begin = out.find("-----BEGIN").expect("a certificate");
        out[begin..].trim_end().to_owned()
    };
    let pem = |name: &str| {
        let text = std::fs::read_to_string(folder.path(name)).expect("a file");
        text.replace('\r', "").trim_end().to_owned()
    };
    let first = pem("server.crt");
    for (name, peer) in &programs {
        assert_eq!(
            (status(peer, "right"), status(peer, "next")),
            ("200".into(), "401".into()),
            "{name}"
        );
        assert!(served(peer).starts_with(&first), "{name}");
    }
    folder.write("web.yml", &(TLS.to_owned() + &users("next")));
    for (file, of) in [("server.crt", "other.crt"), ("server.key", "other.key")] {
        folder.write(file, &pem(of));
    }
    for (name, peer) in &programs {
        until("the new password counts", || status(peer, "next") == "200");
        assert_eq!(status(peer, "right"), "401", "{name}");
        until("the new certificate is served", || served(peer).starts_with(&pem("other.crt")));
    }
    // There every request fails while the file is wrong; here what was in force stays.
    folder.write("web.yml", "tls_server_config: [\n");
    let [(_, there), (_, here)] = &programs;
    assert_eq!(status(there, "next"), "000");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(status(here, "next"), "200");
    }
}

/// Whether a program ends by itself, and with a failure.
fn refuses(command: &Command) -> (bool, String) {
    let mut bounded = Command::new("timeout");
    bounded.arg("10").arg(command.get_program()).args(command.get_args()).stdout(Stdio::null());
    let (status, _, err) = output(&mut bounded);
    // 124: it went on until its time was up.
    (status != 124 && status != 0, err)
}

#[test]
#[ignore = "needs curl, coreutils and prometheus-node-exporter: cargo test --features full --test system_web_config -- --ignored"]
fn neither_starts_with_what_is_wrong() {
    harness::needs(NEEDS);
    let folder = Folder::new();
    let bad_user = |hash: &str| format!("basic_auth_users:\n  alice: {hash}\n");
    let secret = "hunter2hunter2";
    for text in [
        "tls_server_config:\n  cert_file: server.crt\n".to_owned(),
        "tls_server_config:\n  key_file: server.key\n".to_owned(),
        "tls_server_config:\n  cert_file: none.crt\n  key_file: server.key\n".to_owned(),
        "tls_server_config:\n  cert_file: server.crt\n  key_file: none.key\n".to_owned(),
        "tls_server_config:\n  cert_file: server.crt\n  key_file: client.key\n".to_owned(),
        "tls_server_config:\n  cert_file: server.key\n  key_file: server.key\n".to_owned(),
        "tls_server_config:\n  cert_file: web.yml\n  key_file: server.key\n".to_owned(),
        format!("{TLS}  cert_files: x\n"),
        format!("{TLS}  cert_file: server.crt\n"),
        format!("{TLS}  min_version: TLS14\n"),
        format!("{TLS}  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n"),
        format!("{TLS}  cipher_suites: TLS_AES_128_GCM_SHA256\n"),
        format!("{TLS}  curve_preferences: [CurveP257]\n"),
        format!("{TLS}  client_auth_type: RequireAll\n"),
        format!("{TLS}  client_ca_file: ca.crt\n"),
        format!(
            "{TLS}  client_ca_file: none.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
        ),
        format!("{TLS}  prefer_server_cipher_suites: maybe\n"),
        "http_server_config:\n  headers:\n    X-Frame-Options: never\n".to_owned(),
        "http_server_config:\n  headers:\n    Server: x\n".to_owned(),
        "http_server_config:\n  http2: maybe\n".to_owned(),
        bad_user(secret),
        bad_user("$2y$40$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"),
        bad_user(""),
        "basic_auth_users: [alice]\n".to_owned(),
        "basic_auth_user: {}\n".to_owned(),
        "tls_server_config: [\n".to_owned(),
        "- a\n".to_owned(),
        "x\n".to_owned(),
    ] {
        folder.write("web.yml", &text);
        for (name, command) in folder.programs() {
            let (has_refused, said) = refuses(&command);
            assert!(has_refused, "{name} starts with\n{text}");
            if name == "vitald" {
                let place = format!("{}", folder.path("web.yml").display());
                assert!(said.contains(&place) && !said.contains(secret), "{text}\n{said}");
                assert!(!said.contains("PRIVATE") && !said.contains("X0h1gDs"), "{text}\n{said}");
            }
        }
    }
    // What only vitald refuses, because it would protect less or cost too much.
    for (text, reason) in [
        (bad_user("$2y$20$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"), "cost 20"),
        (format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n"), "needs client_ca_file"),
        (format!("{TLS}  min_version: TLS10\n  max_version: TLS11\n"), "no TLS below 1.2"),
    ] {
        folder.write("web.yml", &text);
        let [(_, there), (_, here)] = folder.programs();
        assert!(!refuses(&there).0, "{text}");
        let (has_refused, said) = refuses(&here);
        assert!(has_refused && said.contains(reason), "{said}");
    }
}

/// An authority whose certificate ran out long ago.
fn expired_authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

#[test]
#[ignore = "needs curl, coreutils and prometheus-node-exporter: cargo test --features full --test system_web_config -- --ignored"]
fn what_is_out_of_date_counts_as_there() {
    harness::needs(NEEDS);
    let folder = Folder::new();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &folder.authority).expect("a certificate");
    folder.write("server.crt", &certificate.pem());
    folder.write("server.key", &key.serialize_pem());
    folder.write("web.yml", TLS);
    for (name, peer) in folder.start() {
        let ask = |arguments: &[&str]| folder.ask(&peer, "https:/metrics", arguments).0;
        assert_eq!((&*ask(&[]), &*ask(&["--insecure"])), ("000", "200"), "{name}");
    }
    // One authority that is over, beside one that is not.
    let old = expired_authority();
    folder.sign("old", &old, "a.example", ExtendedKeyUsagePurpose::ClientAuth);
    folder.write("ca.crt", &(old.pem() + &folder.authority.pem()));
    let ca = "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n";
    folder.write("web.yml", &format!("{TLS}{ca}"));
    for (name, peer) in folder.start() {
        let ask = |client: &str| {
            let files = [format!("{client}.crt"), format!("{client}.key")];
            let [certificate, key] = &files;
            let arguments = ["--insecure", "--cert", certificate, "--key", key];
            folder.ask(&peer, "https:/metrics", &arguments).0
        };
        assert_eq!((&*ask("old"), &*ask("client")), ("000", "200"), "{name}");
    }
}

#[test]
#[ignore = "needs curl, coreutils and prometheus-node-exporter: cargo test --features full --test system_web_config -- --ignored"]
fn suites_that_no_client_could_use_are_refused() {
    harness::needs(NEEDS);
    let folder = Folder::new();
    // The key of the certificate is of an elliptic curve.
    let suites = "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n";
    folder.write("web.yml", &format!("{TLS}{suites}  max_version: TLS12\n"));
    let [(_, there), (_, here)] = folder.programs();
    let there = Peer::start(there);
    assert_eq!(folder.ask(&there, "https:/metrics", &["--insecure"]).0, "000");
    let (has_refused, said) = refuses(&here);
    assert!(has_refused && said.contains("no client could connect"), "{said}");
    // With TLS 1.3 they hinder those alone that do not speak it.
    folder.write("web.yml", &format!("{TLS}{suites}"));
    for (name, peer) in folder.start() {
        let ask = |arguments: &[&str]| folder.ask(&peer, "https:/metrics", arguments).0;
        assert_eq!((&*ask(&["--tls-max", "1.2"]), &*ask(&[])), ("000", "200"), "{name}");
    }
}

#[test]
#[ignore = "needs curl, coreutils and prometheus-node-exporter: cargo test --features full --test system_web_config -- --ignored"]
fn a_configuration_is_checked_and_migrated_with_it() {
    harness::needs(NEEDS);
    let folder = Folder::new();
    folder.write("web.yml", &(TLS.to_owned() + &users("right")));
    let vitald = |arguments: &[&str]| {
        output(Command::new(harness::binary()).args(arguments).current_dir(folder.folder.path()))
    };
    let (status, migrated, err) = vitald(&["migrate", "--", "--web.config.file=web.yml"]);
    assert_eq!(status, 0, "{err}");
    let path = std::fs::canonicalize(folder.path("web.yml")).expect("a file");
    assert!(migrated.contains(&format!("web_config = \"{}\"", path.display())), "{migrated}");
    folder.write("config.toml", &migrated);
    let (status, out, err) = vitald(&["check", "config.toml"]);
    assert!(status == 0 && out.contains("web.yml"), "{out}{err}");
    let (status, out, _) = vitald(&["config", "--effective", "--config", "config.toml"]);
    assert!(status == 0 && out.contains("web_config = ") && !out.contains("$2"), "{out}");
    folder.write("web.yml", "basic_auth_users: {alice: x}\n");
    let (status, _, err) = vitald(&["check", "config.toml"]);
    assert!(status == 78 && err.contains("web.yml:1:27: basic_auth_users.alice"), "{status} {err}");
    let run = folder.path("config.toml");
    let (status, _, err) = vitald(&["run", "--config", &as_text(&run)]);
    assert!(status == 78 && err.contains("web.yml:1:27"), "{status} {err}");
}

fn as_text(path: &Path) -> String {
    path.display().to_string()
}

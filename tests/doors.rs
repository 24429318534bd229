//! What leaves the daemon: no secret by any door, and no text that a browser takes for a program.

mod harness;

use harness::{Answer, Connection, Daemon, ask, output};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What must be found nowhere.
const SECRET: &str = "Marker7h2Qx";

fn private(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

/// A command of vitald's with a configuration, and what it has printed.
fn command(arguments: &[&str], config: &str, environment: &[(&str, &str)]) -> (i32, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("config.toml");
    fs::write(&file, config).expect("the configuration");
    let mut command = Command::new(harness::binary());
    command.args(arguments).arg("--config").arg(&file).envs(environment.iter().copied());
    let (status, out, err) = output(&mut command);
    (status, out + &err)
}

const SUPERVISORD: &str =
    "[scrape]\ndefault_collectors = false\n[collectors.supervisord]\nenabled = true\n";

#[test]
fn secrets_are_shown_nowhere() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let [admin, read, socket] = ["admin", "read", "v.sock"].map(at);
    private(&admin, &format!("{SECRET}admin\n"));
    private(&read, &format!("{SECRET}read\n"));
    let url = format!("http://user:{SECRET}@127.0.0.1:1/RPC2");
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", {{ address = \"unix:{}\", admin = \"token:{}\", token_file = \"{}\" }}]\n\
         [log]\nlevel = \"debug\"\n{SUPERVISORD}url = \"{url}\"\n",
        socket.display(),
        admin.display(),
        read.display(),
    );
    let daemon = Daemon::start(&config);
    let show = |name: &str| [("Authorization", format!("Bearer {SECRET}{name}"))];
    let mut shown: Vec<(String, String)> = Vec::new();
    let mut take = |what: &str, answer: Answer| {
        shown.push((what.to_owned(), format!("{:?} {}", answer.headers, answer.body)));
        answer
    };
    for path in
        ["/", "/metrics", "/plugins", "/plugins/supervisord", "/plugins/nothing", "/healthz"]
    {
        take(path, daemon.get(path));
        for token in ["admin", "read", "guess"] {
            let headers = show(token);
            let [(name, value)] = &headers;
            let mut connection = Connection::open_unix(&socket);
            let answer = take(path, connection.ask("GET", path, &[(name, value)]));
            assert_eq!(answer.status == 401, token == "guess" && path != "/healthz", "{path}");
        }
    }
    // To an admin, too, though the rest of the URL is shown.
    let detail = take("detail", daemon.get("/plugins/supervisord"));
    assert!(detail.body.contains("http://***@127.0.0.1:1/RPC2"), "{}", detail.body);
    assert_eq!(take("reload", daemon.reload()).status, 200);
    fs::set_permissions(&read, fs::Permissions::from_mode(0o644)).expect("chmod");
    assert_eq!(take("reload", daemon.reload()).status, 200);
    daemon.wait_for_log("chmod o-rw");
    daemon.write_config(&config.replace("127.0.0.1:1/RPC2", "127.0.0.1:x/RPC2"));
    assert_eq!(take("a bad URL", daemon.reload()).status, 422);
    shown.push(("log".to_owned(), daemon.log()));
    let line = fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid())).expect("a process");
    shown.push(("cmdline".to_owned(), line));

    for arguments in [&["config", "--effective"][..], &["check"], &["plugins"], &["once"]] {
        let (_, printed) = command(arguments, &config, &[]);
        shown.push((arguments.join(" "), printed));
        let above = [("VITALD__COLLECTORS__SUPERVISORD__URL", url.as_str())];
        let (_, printed) = command(arguments, SUPERVISORD, &above);
        shown.push((format!("{arguments:?} with the environment"), printed));
    }
    let effective = shown.iter().find(|(what, _)| what == "config --effective");
    assert!(effective.is_some_and(|(_, text)| text.contains("http://***@127.0.0.1:1/RPC2")));
    for (what, text) in &shown {
        assert!(!text.contains(SECRET), "{what}: {text}");
    }
}

#[test]
fn a_token_may_be_a_credential_of_systemds() {
    let credentials = tempfile::tempdir().expect("a directory");
    private(&credentials.path().join("scrape"), &format!("{SECRET}\n"));
    let listen = |name: &str| {
        format!(
            "[server]\nlisten = [{{ address = \"127.0.0.1:0\", admin = \"token:credential:{name}\", token_file = \"credential:{name}\" }}]\n"
        )
    };
    let bearer = format!("Bearer {SECRET}");
    let shown = [("Authorization", bearer.as_str())];
    let daemon = Daemon::start_by(&listen("scrape"), |command| {
        command.env("CREDENTIALS_DIRECTORY", credentials.path());
    });
    assert_eq!(daemon.get("/metrics").status, 401);
    assert_eq!(daemon.ask("GET", "/metrics", &shown).status, 200);
    assert_eq!(daemon.ask("PUT", "/plugins/reload", &shown).status, 200);
    // Where there is none, no token is right, and the log says what to do.
    let daemon = Daemon::start_by(&listen("scrape"), |command| {
        command.env_remove("CREDENTIALS_DIRECTORY");
    });
    assert_eq!(daemon.ask("GET", "/metrics", &shown).status, 500);
    daemon.wait_for_log("LoadCredential=scrape:");
}

#[test]
fn a_password_is_no_part_of_the_hash() {
    let hash = |password: &str, host: &str| {
        let config = format!("{SUPERVISORD}url = \"http://user:{password}@{host}/RPC2\"\n");
        let (status, printed) = command(&["check"], &config, &[]);
        assert_eq!(status, 0, "{printed}");
        let hash = printed.lines().find_map(|line| line.strip_prefix("hash: "));
        hash.expect("a hash").to_owned()
    };
    // Everybody sees it, and could try passwords with it.
    assert_eq!(hash("one", "localhost"), hash("two", "localhost"));
    assert_ne!(hash("one", "localhost"), hash("one", "elsewhere"));
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown_either() {
    let url = format!("http://user:{SECRET}@host/RPC2");
    for (config, variable) in [
        (format!("[server]\nadmin = \"{SECRET}\"\n"), None),
        (format!("[server]\nadmin = \"token:{SECRET}\"\n"), None),
        (format!("[server]\nadmin = {SECRET}\n"), None),
        (format!("[server]\nadmin = [\"{SECRET}\"]\n"), None),
        (format!("[server]\ntoken = \"{SECRET}\"\n"), None),
        (format!("[server]\nlisten = [{{ address = \":1\", token_file = \"{SECRET}\" }}]\n"), None),
        (format!("[server]\nlisten = [{{ address = \":1\", token = \"{SECRET}\" }}]\n"), None),
        (format!("{SUPERVISORD}url = {SECRET}\n"), None),
        (format!("{SUPERVISORD}url = \"{SECRET}\"\n"), None),
        (format!("{SUPERVISORD}url = \"{url}\n"), None),
        (format!("{SUPERVISORD}url = [\"{url}\"]\n"), None),
        (format!("{SUPERVISORD}urls = \"{url}\"\n"), None),
        (format!("{SUPERVISORD}password = \"{SECRET}\"\n"), None),
        (format!("{SUPERVISORD}url = \"{url}\"\nurl = \"{url}\"\n"), None),
        (format!("{SUPERVISORD}url = \"{}\"\n", url.replace("http:", "https:")), None),
        (format!("[collectors]\nsupervisord = \"{url}\"\n"), None),
        (String::new(), Some(("VITALD__SERVER__ADMIN", SECRET))),
        (String::new(), Some(("VITALD__SERVER__TOKEN", SECRET))),
        (String::new(), Some(("VITALD__COLLECTORS__SUPERVISORD__PASSWORD", SECRET))),
    ] {
        let environment: Vec<(&str, &str)> = variable.into_iter().collect();
        let (status, printed) = command(&["check"], &config, &environment);
        assert_ne!(status, 0, "{config}: {printed}");
        assert!(!printed.is_empty() && !printed.contains(SECRET), "{config}: {printed}");
    }
}

#[test]
fn check_warns_of_doors_that_are_wide_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    private(&token, SECRET);
    fs::set_permissions(&token, fs::Permissions::from_mode(0o604)).expect("chmod");
    let config = format!(
        "[server]\nlisten = [{{ address = \":0\", admin = \"token:{}\" }}, {{ address = \"unix:/run/x.sock\", mode = \"0666\" }}]\n",
        token.display()
    );
    let (status, printed) = command(&["check"], &config, &[]);
    assert_eq!(status, 0, "{printed}");
    let warnings: Vec<&str> =
        printed.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    assert_eq!(warnings.len(), 3, "{printed}");
    for (warning, word) in warnings.iter().zip(["refused to other machines", "chmod o-rw", "0666"])
    {
        assert!(warning.contains(word), "{warning}");
    }
}

/// Texts that do something in a page that takes them for markup.
const PAYLOADS: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "' onmouseover='alert(1)",
    "\" onfocus=\"alert(1)\" autofocus=\"",
    "</style></script><iframe src=javascript:alert(1)>",
    "<!--<math><mi xlink:href=\"data:x,<script>alert(1)</script>\">",
    "{{7*7}}${7*7}<%= 7*7 %><b>",
];

#[test]
fn no_text_becomes_a_part_of_a_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let texts = directory.path().join("texts");
    fs::create_dir(&texts).expect("a directory");
    for (number, payload) in PAYLOADS.iter().enumerate() {
        let name: String = payload.chars().filter(|c| *c != '/').collect();
        let escaped = payload.replace('\\', "\\\\").replace('"', "\\\"");
        let text = format!("# HELP own{number} {payload}\nown{number}{{a=\"{escaped}\"}} 1\n");
        fs::write(texts.join(format!("{name}.prom")), text).expect("a file");
        fs::write(texts.join(format!("{name} broken.prom")), payload).expect("a file");
    }
    // The configuration's own name is shown to admins.
    let place = directory.path().join("<img src=x onerror=alert(2)>");
    fs::create_dir(&place).expect("a directory");
    let config = place.join("\"'<b>.toml");
    let socket = directory.path().join("<script>.sock");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n[scrape]\ndefault_collectors = false\n\
         [collectors.textfile]\nenabled = true\ndirectory = [\"{}\"]\n",
        socket.display(),
        texts.display()
    );
    fs::write(&config, text).expect("the configuration");
    let mut command = Command::new(harness::binary());
    command.arg("run").arg("--config").arg(&config);
    let daemon = Daemon::spawn(command, tempfile::tempdir().expect("a directory"));
    let metrics = daemon.metrics();
    assert!(metrics.body.contains("alert(1)"), "{}", metrics.body);
    let mut pages: Vec<(String, Answer)> = Vec::new();
    for payload in PAYLOADS {
        let encoded: String = payload.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in ["/", "/plugins", "/plugins/textfile", "/readyz", "/nothing", "/metrics"] {
            // Its Host is on the status page.
            let answer = ask(daemon.address(), "GET", path, &[("Host", payload)]);
            pages.push((format!("{path} {payload}"), answer));
            let path = format!("{path}?collect[]={encoded}&x={encoded}");
            pages.push((path.clone(), daemon.get(&path)));
        }
        let path = format!("/plugins/{encoded}");
        pages.push((path.clone(), daemon.get(&path)));
        let mut by_path = Connection::open_unix(&socket);
        pages
            .push((format!("{socket:?} {payload}"), by_path.ask("GET", "/", &[("Host", payload)])));
    }
    let mut with_markup = 0;
    for (what, answer) in &pages {
        let header = |name: &str| answer.headers.get(name).map_or("", String::as_str);
        assert_eq!(header("x-content-type-options"), "nosniff", "{what}: {answer:?}");
        let kind = header("content-type");
        if !kind.starts_with("text/html") {
            let known = ["text/plain", "application/json", "application/problem+json"];
            assert!(known.iter().any(|known| kind.starts_with(known)), "{what}: {kind}");
            continue;
        }
        with_markup += 1;
        let policy = header("content-security-policy");
        for rule in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{what}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{what}: {policy}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{what}");
        assert_eq!(header("cache-control"), "no-store", "{what}");
        let body = &answer.body;
        for payload in
            PAYLOADS.iter().chain(&["<img", "<iframe", "<math", "<b>", "onerror=alert(2)>"])
        {
            assert!(!body.contains(payload), "{what}: {payload}");
        }
        // Its own, both with the nonce of the policy.
        let nonce = body.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next());
        let nonce = nonce.expect("a nonce");
        assert!(policy.contains(&format!("script-src 'nonce-{nonce}'")), "{policy}");
        assert_eq!(body.matches("<script").count(), 1, "{what}");
        assert_eq!(body.matches(&format!("<script nonce=\"{nonce}\">")).count(), 1, "{what}");
        assert_eq!(body.matches("<style").count(), 1, "{what}");
    }
    assert_eq!(with_markup, 3 * PAYLOADS.len());
    let page = daemon.get("/").body;
    assert!(page.contains("&lt;img src=x onerror=alert(2)&gt;"), "{page}");
}

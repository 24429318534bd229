//! The status page as a browser shows it.
//!
//! With `VITALD_PICTURES=DIRECTORY` pictures of it are kept there, to be looked at.

#[path = "system_page/browser.rs"]
mod browser;
mod harness;

use browser::{Browser, key};
use harness::{Daemon, until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const NEEDS: &str = "root, chromium and chromium-driver";

/// What is on the page of a host without problems, and a collector with the rest of what the test looks at.
const FINE: &str = "[scrape]\ndefault_collectors = false\n\
     [collectors.cpu]\nenabled = true\n[collectors.meminfo]\nenabled = true\n\
     [collectors.filesystem]\nenabled = true\n[collectors.diskstats]\nenabled = true\n\
     [collectors.netdev]\nenabled = true\n[collectors.pressure]\nenabled = true\n\
     [collectors.loadavg]\nenabled = true\n";

/// A daemon without problems, and its page, which has been refreshed once.
fn fine() -> (Daemon, Browser) {
    let daemon = Daemon::start(FINE);
    daemon.metrics();
    let browser = Browser::start();
    browser.open(&url(&daemon));
    browser.wait_for("footer", "Refreshed");
    (daemon, browser)
}

/// Contrasts of all texts that are shown with the ground that they are on, where they are too low (WCAG 2, 1.4.3).
const LOW_CONTRASTS: &str = r#"
    const numbers = (color) => color.match(/[\d.]+/g).map(Number);
    const light = (color) => {
        const [r, g, b] = numbers(color).slice(0, 3).map((part) => {
            const share = part / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (numbers(color)[3] !== 0) return color;
        }
        return "rgb(255, 255, 255)";
    };
    const low = [];
    for (const element of document.body.querySelectorAll("*")) {
        const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!hasText || !element.checkVisibility() || element.matches("script")) continue;
        const one = light(getComputedStyle(element).color), other = light(ground(element));
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (contrast < 4.5) low.push(element.outerHTML.slice(0, 80) + " " + contrast.toFixed(2));
    }
    return low.join("\n");
"#;

fn url(daemon: &Daemon) -> String {
    format!("http://{}/", daemon.address())
}

fn textfile(directory: &Path) -> String {
    format!("[collectors.textfile]\nenabled = true\ndirectory = [\"{}\"]\n", directory.display())
}

/// Nothing went wrong in the page, and it asked nobody but the daemon.
fn is_clean(browser: &Browser, daemon: &Daemon) {
    // chromium asks every site for this icon.
    let said: Vec<String> = browser.logged("browser");
    let said: Vec<&String> = said.iter().filter(|line| !line.contains("favicon.ico")).collect();
    assert!(said.is_empty(), "{said:#?}");
    let own = url(daemon);
    // The browser's first page has parts of its own, chrome://.
    let foreign = |asked: &String| asked.starts_with("http") && !asked.starts_with(&own);
    let asked: Vec<String> = browser.requests().into_iter().filter(foreign).collect();
    assert!(asked.is_empty(), "{asked:#?}");
}

/// Whether the list of those that are switched off is open.
const IS_OFF_OPEN: &str = "return document.getElementById('off').open";

/// Waits until the page has been refreshed from now on.
fn refreshed(browser: &Browser) {
    browser.run("document.getElementById('footer').textContent = ''");
    browser.wait_for("footer", "Refreshed");
}

fn contrasts_are_high(browser: &Browser) {
    let low = browser.run(LOW_CONTRASTS);
    assert_eq!(low.as_str(), Some(""), "{low}");
}

fn fits_in_its_width(browser: &Browser) {
    let excess = browser.run("return document.documentElement.scrollWidth - innerWidth");
    assert!(excess.as_i64().is_some_and(|excess| excess <= 0), "{excess} pixels too wide");
    no_card_is_cut(browser);
}

/// A card hides what is wider than it.
fn no_card_is_cut(browser: &Browser) {
    let cut = browser.run(
        "return [...document.querySelectorAll('.card')].filter((card) => card.scrollWidth > card.clientWidth)
            .map((card) => card.innerText.slice(0, 40)).join()",
    );
    assert_eq!(cut.as_str(), Some(""), "{cut}");
}

/// Pictures of what is shown on a large screen and on a phone, which must be readable in both schemes.
fn look(browser: &Browser, name: &str) {
    for scheme in ["light", "dark"] {
        browser.prefers(scheme);
        for (device, width, height) in [("desktop", 1280, 1000), ("phone", 390, 844)] {
            browser.size(width, height);
            browser.run("scrollTo(0, 0)");
            browser.picture(&format!("{name}-{device}-{scheme}"));
        }
        contrasts_are_high(browser);
    }
    browser.size(1280, 1000);
    no_card_is_cut(browser);
    browser.size(360, 740);
    fits_in_its_width(browser);
    browser.size(1280, 1000);
    browser.prefers("light");
}

#[test]
#[ignore = "needs root, chromium and chromium-driver: cargo test --features full --test system_page -- --ignored"]
fn a_host_without_problems_is_shown_and_kept_fresh() {
    harness::needs(NEEDS);
    let texts = tempfile::tempdir().expect("a directory");
    let hostile = "hostile{who=\"<script>document.title=7</script>\"} 1\n";
    fs::write(texts.path().join("a.prom"), hostile).expect("a file");
    let daemon = Daemon::start(&format!("{FINE}{}", textfile(texts.path())));
    daemon.metrics();
    let browser = Browser::start();
    browser.open(&url(&daemon));
    assert_eq!(browser.text("#state"), "All is well: 8 collectors run");
    assert_eq!((browser.count(".tile"), browser.count("#collectors tbody > tr")), (6, 8));
    // Rates come by themselves, and the figures go on.
    until("the CPU has a share", || browser.text("#t-cpu .value").ends_with('%'));
    browser.wait_for("footer", "Refreshed");
    let points =
        "return document.querySelector('#t-meminfo path').getAttribute('d').split('L').length";
    until("a curve has three points", || browser.run(points).as_u64() >= Some(3));

    // A row is one stop for a keyboard, and a screen reader says its name before each of its cells.
    assert_eq!(browser.count("#collectors tbody a, #collectors tbody [tabindex]"), 8);
    let names = "return [...document.querySelectorAll('#collectors tbody > tr > th')]
        .every((head) => head.abbr === head.querySelector('a').textContent)";
    assert_eq!(browser.run(names), true);

    // By keyboard alone, and what has the focus keeps it while the page is refreshed.
    let expanded = "return document.activeElement.getAttribute('aria-expanded')";
    browser.run("document.querySelector('#c-filesystem .unfold').focus()");
    browser.type_into("#c-filesystem .unfold", key::SPACE);
    browser.wait_for("#v-filesystem", "mountpoint");
    for (path, what) in [
        ("/plugins/filesystem", "What the daemon knows of filesystem"),
        ("/metrics?collect[]=filesystem", "Metrics of filesystem"),
    ] {
        assert_eq!(browser.text(&format!("#v-filesystem a[href='{path}']")), what);
    }
    assert_eq!(browser.run(expanded), "true");
    browser.type_into("#c-filesystem .unfold", key::ENTER);
    until("it is folded", || browser.count("#v-filesystem") == 0);
    assert_eq!(browser.run(expanded), "false");
    browser.click("#t-cpu .to");
    browser.wait_for("#v-cpu", "idle");
    browser.click("#c-textfile .unfold");
    browser.wait_for("#v-textfile", "values");
    browser.click("#v-textfile summary");
    browser.wait_for("#v-textfile", "<script>document.title=7</script>");
    assert_ne!(browser.run("return document.title"), "7");
    look(&browser, "unfolded");

    browser.type_into("#wanted", "meminfo run");
    until("meminfo is found alone", || browser.count("#collectors tbody > tr[id^=c-]") == 1);
    assert_eq!(browser.text("#found"), "1 found");
    browser.type_into("#wanted", key::ESCAPE);
    until("all are there", || browser.count("#collectors tbody > tr[id^=c-]") == 8);
    // Those that are off can be found, too.
    browser.type_into("#wanted", "off zfs");
    until("it is found", || browser.count("#off [data-find]") == 1);
    // What the reader closes stays closed, and is closed without words.
    browser.click("#off > summary");
    refreshed(&browser);
    assert_eq!(browser.run(IS_OFF_OPEN), false);
    browser.type_into("#wanted", " ");
    assert_eq!(browser.run(IS_OFF_OPEN), true);
    browser.type_into("#wanted", key::ESCAPE);
    assert_eq!(browser.run(IS_OFF_OPEN), false);

    // Of seven the one that was unfolded first is folded, and it can be unfolded again.
    for name in ["diskstats", "netdev", "pressure", "loadavg", "meminfo"] {
        browser.click(&format!("#c-{name} .unfold"));
        browser.wait_for(&format!("#v-{name}"), "value");
    }
    browser.wait_for("#folded", "at a time: cpu is not.");
    browser.click("#c-cpu .unfold");
    browser.wait_for("#v-cpu", "idle");
    browser.wait_for("#folded", "at a time: textfile is not.");

    browser.open(&url(&daemon));
    until("the CPU has a share", || browser.text("#t-cpu .value").ends_with('%'));
    look(&browser, "fine");
    // A few zones with a column for each of dozens of counters.
    daemon.write_config(&format!("{FINE}[collectors.zoneinfo]\nenabled = true\n"));
    daemon.signal("HUP");
    until("it has been collected", || daemon.metrics().has("node_zoneinfo_present_pages"));
    browser.open(&format!("{}?show=zoneinfo", url(&daemon)));
    browser.wait_for("#v-zoneinfo", "node, zone");
    look(&browser, "wide");
    is_clean(&browser, &daemon);
}

#[test]
#[ignore = "needs root, chromium and chromium-driver: cargo test --features full --test system_page -- --ignored"]
fn problems_are_shown_with_their_places_for_as_long_as_they_last() {
    harness::needs(NEEDS);
    let texts = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| fs::write(texts.path().join(name), text).expect("a file");
    file("backup.prom", "backup_age_seconds 12\nbackup_size{disk=\"sda\" 7\n");
    file("raid.prom", "# TYPE raid_ok gauge\nraid_ok 1\nraid_ok yes\n");
    let config = format!(
        "{FINE}{}[collectors.zfs]\nenabled = true\n\
         [collectors.supervisord]\nenabled = true\nurl = \"http://127.0.0.1:9/RPC2\"\n",
        textfile(texts.path())
    );
    let daemon = Daemon::start(&config);
    daemon.metrics();
    let browser = Browser::start();
    browser.open(&url(&daemon));
    assert_eq!(browser.text("#state"), "3 problems");
    let problem = |name: &str| browser.text(&format!("#p-{name}"));
    assert!(problem("supervisord").contains("Connection refused"), "{}", problem("supervisord"));
    assert!(problem("zfs").contains("this host has no such source"), "{}", problem("zfs"));
    for expected in ["backup.prom line 2: expected a comma", "raid.prom line 3: expected a number"]
    {
        assert!(problem("textfile").contains(expected), "{}", problem("textfile"));
    }
    // The link leads to where it is listed.
    browser.click("#p-zfs .to");
    until("it is shown", || browser.count("#absent #c-zfs") == 1);
    browser.run("scrollTo(0, 0)");
    // The first is the gravest one.
    assert_eq!(browser.text(".problems li .to"), "supervisord");
    until("the CPU has a share", || browser.text("#t-cpu .value").ends_with('%'));
    look(&browser, "problems");

    // A reload that is refused is one, until one succeeds.
    daemon.write_config("[collectors.cpu]\nenabled = 7\n");
    assert_eq!(daemon.reload().status, 422);
    browser.wait_for("#state", "4 problems");
    browser.wait_for(".problems", "config.toml:");
    look(&browser, "refused");
    file("backup.prom", "backup_age_seconds 12\n");
    file("raid.prom", "raid_ok 1\n");
    daemon.write_config(&format!("{FINE}{}", textfile(texts.path())));
    assert_eq!(daemon.reload().status, 200);
    daemon.metrics();
    browser.wait_for("#state", "All is well");
    assert_eq!(browser.count("#problems"), 0);
    browser.wait_for("main", "The last reload was applied");
    is_clean(&browser, &daemon);
}

/// Those that have nothing where sysfs is empty, and one that fails.
const OF_SYSFS: [&str; 12] = [
    "bcachefs",
    "bonding",
    "dmi",
    "fibrechannel",
    "infiniband",
    "nvme",
    "nvmesubsystem",
    "rapl",
    "tapestats",
    "hwmon",
    "cpu_vulnerabilities",
    "supervisord",
];

#[test]
#[ignore = "needs root, chromium and chromium-driver: cargo test --features full --test system_page -- --ignored"]
fn many_problems_do_not_push_the_host_out_of_sight() {
    harness::needs(NEEDS);
    let sysfs = tempfile::tempdir().expect("a directory");
    let mut config = format!("[paths]\nsysfs = \"{}\"\n{FINE}", sysfs.path().display());
    for name in OF_SYSFS {
        config += &format!("[collectors.{name}]\nenabled = true\n");
    }
    config += "url = \"http://127.0.0.1:9/RPC2\"\n";
    let daemon = Daemon::start(&config);
    daemon.metrics();
    let browser = Browser::start();
    browser.open(&url(&daemon));
    // The one that fails is the gravest.
    assert_eq!(browser.text(".problems li .to"), "supervisord");
    assert_eq!(browser.count("#problems .problems > li"), 8);
    let all = browser.run("return document.querySelectorAll('#problems .problems > li').length");
    let all = all.as_u64().expect("a number");
    assert!(all >= 12, "{all}");
    assert_eq!(browser.text("#folded-problems > summary"), format!("{} more problems", all - 8));
    browser.click("#folded-problems > summary");
    refreshed(&browser);
    assert_eq!(browser.count("#problems .problems > li"), all, "what was opened stays open");
    look(&browser, "many-problems");
    is_clean(&browser, &daemon);
}

#[test]
#[ignore = "needs root, chromium and chromium-driver: cargo test --features full --test system_page -- --ignored"]
fn a_daemon_that_is_gone_is_missed_within_five_seconds() {
    harness::needs(NEEDS);
    let (daemon, browser) = fine();
    daemon.signal("STOP");
    let stopped = Instant::now();
    browser.wait_for("#gone", "The daemon has not answered.");
    let missed = stopped.elapsed();
    println!("figure: a daemon that is gone is missed after {:.1} s", missed.as_secs_f64());
    assert!(missed < Duration::from_secs(5), "{missed:?}");
    // Nothing says any more that all is well.
    assert_eq!(browser.count("#state"), 0);
    let filter = "return getComputedStyle(document.querySelector('main')).filter";
    assert_eq!(browser.run(filter), "grayscale(1)");
    look(&browser, "gone");
    daemon.signal("CONT");
    until("it is back", || browser.text("#gone").is_empty() && browser.count("#state") == 1);
    assert_eq!(browser.text("#state"), "All is well: 7 collectors run");
    assert_eq!(browser.run("return document.title.startsWith('No answer')"), false);
}

#[test]
#[ignore = "needs root, chromium and chromium-driver: cargo test --features full --test system_page -- --ignored"]
fn a_daemon_that_refuses_the_page_is_not_gone() {
    harness::needs(NEEDS);
    let (daemon, browser) = fine();
    // As a bookmark with a password has it.
    browser.open(&url(&daemon).replace("//", "//alice:marker@"));
    browser.wait_for("footer", "Refreshed");
    let users = daemon.config_file().with_file_name("users.yml");
    let hash = "$2y$04$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
    fs::write(&users, format!("basic_auth_users: {{ alice: {hash} }}\n")).expect("a file");
    let token = daemon.config_file().with_file_name("token");
    fs::write(&token, "marker\n").expect("a file");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("chmod");
    let web = daemon.config_file().with_file_name("web.yml");
    fs::write(&web, "rate_limit: { interval: 5m, burst: 1 }\n").expect("a file");
    let listen = |more: &str| {
        let socket = daemon.config_file().with_file_name("v.sock");
        let listen = format!(
            "[server]\nlisten = [{{ address = \"127.0.0.1:0\"{more} }}, \"unix:{}\"]\n",
            socket.display()
        );
        daemon.write_config(&format!("{listen}{FINE}"));
        daemon.signal("HUP");
    };
    // Of an admin on this host no token is asked.
    let of_token = format!(", admin = \"off\", token_file = \"{}\"", token.display());
    let of_password = format!(", web_config = \"{}\"", users.display());
    for refusing in [of_token, of_password] {
        listen(&refusing);
        browser.wait_for(
            "#gone",
            "The daemon asks for a password or a token that this page has not: load it again (401).",
        );
        assert_eq!(browser.run("return document.title.startsWith('Not refreshed – ')"), true);
        look(&browser, "refusing");
        listen("");
        until("it is shown again", || {
            browser.text("#gone").is_empty() && browser.count("#state") == 1
        });
    }
    listen(&format!(", web_config = \"{}\"", web.display()));
    browser.wait_for(
        "#gone",
        "The daemon is asked too often, and refuses this page for a while (429).",
    );
    listen("");
    until("it is shown again", || browser.text("#gone").is_empty() && browser.count("#state") == 1);
}

#[test]
#[ignore = "needs root, chromium and chromium-driver: cargo test --features full --test system_page -- --ignored"]
fn curves_say_when_and_a_slow_answer_is_taken() {
    harness::needs(NEEDS);
    let (daemon, browser) = fine();
    // A daemon that takes longer than the page is patient.
    daemon.signal("STOP");
    browser.wait_for("#gone", "has not answered");
    browser.run("window.asked = performance.getEntriesByType('resource').length");
    daemon.signal("CONT");
    until("it is taken", || browser.text("#gone").is_empty());
    // Of the same request.
    let others = "return performance.getEntriesByType('resource').length - window.asked";
    assert_eq!(browser.run(others), 1);
    // A minute that nobody looked at is a gap, and what is older than two has no place.
    let path = "return document.querySelector('#t-meminfo path').getAttribute('d')";
    for (minutes, curves) in [(1, 2), (3, 1)] {
        browser.run(&format!("const now = Date.now; Date.now = () => now() + {minutes} * 60000"));
        refreshed(&browser);
        let path = browser.run(path);
        let path = path.as_str().expect("a path");
        assert_eq!(path.matches('M').count(), curves, "{path}");
        assert!(
            path.ends_with(|last: char| last.is_ascii_digit()) && path.contains("100,"),
            "{path}"
        );
    }
}

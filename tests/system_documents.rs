//! What the documents tell their readers to run works, in the order in which it is there, and prints what they
//! say; what they tell to write is valid. Each document has a machine of its own, with its own network.

mod document;
mod harness;
mod sandboxed;
mod system;

#[path = "system_systemd/machine.rs"]
mod machine;
#[path = "system_documents/walks.rs"]
mod walks;

use document::{Block, Document, Kind, documents};
use harness::root;
use machine::Machine;
use std::collections::BTreeSet;
use walks::{Step, WALKS, Walk};

const NEEDS: &str = "root, VITALD_RELEASE, systemd-container, util-linux, curl, prometheus and prometheus-node-exporter";
/// Where the machine has the block that is not for a shell.
const BLOCK: &str = "/tmp/block";
const READER: &str = include_str!("system_documents/reader.sh");
/// What takes the place of a hash that a document only hints at.
const HASH: &str = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";

#[test]
#[ignore = "needs root, VITALD_RELEASE, systemd-container, util-linux, curl, prometheus and prometheus-node-exporter: cargo test --features full --test system_documents -- --ignored"]
fn what_the_documents_tell_to_run_works() {
    harness::needs(NEEDS);
    let (mut run, mut not_run) = (0, 0);
    let mut unmatched = Vec::new();
    for document in documents() {
        let blocks = document.blocks();
        let (to_run, others): (Vec<&Block>, Vec<&Block>) =
            blocks.iter().partition(|block| block.is_run());
        for block in others.iter().filter(|block| block.not_run.is_some()) {
            let reason = block.not_run.as_deref().unwrap_or_default();
            println!("{}:{}: not run: {reason}", document.path, block.line);
            not_run += 1;
        }
        if to_run.is_empty() {
            continue;
        }
        let walk = WALKS.iter().find(|walk| walk.document == document.path);
        let walk = walk.unwrap_or_else(|| panic!("{} has no walk in walks.rs", document.path));
        unmatched.extend(walked(walk, &document, &to_run));
        run += to_run.len();
    }
    println!("figure: {run} blocks of documents run, {not_run} not");
    assert!(unmatched.is_empty(), "no block begins so: {unmatched:?}");
}

/// Runs the blocks of a document, and answers the steps that are for none.
fn walked(walk: &Walk, document: &Document, blocks: &[&Block]) -> BTreeSet<&'static str> {
    let tree = format!("--bind-ro={}:/opt/tree", root().display());
    let machine = Machine::boot(&["--private-network", &tree]);
    let binary = harness::release_binary().expect("VITALD_RELEASE names the binary to run");
    machine.copy(binary, "/opt/vitald");
    machine.sh(
        "chmod 755 /opt/vitald && mkdir -p /home/you/vitald /mnt && mount -t tmpfs tmpfs /mnt &&
         mkdir /mnt/changed /mnt/work && mount -t overlay overlay \
             -o lowerdir=/opt/tree,upperdir=/mnt/changed,workdir=/mnt/work /home/you/vitald
         rm -rf /etc/vitald /etc/systemd/system/vitald.service* /usr/bin/vitald /usr/local/bin/vitald",
    );
    run(&machine, walk.first);
    let mut steps: BTreeSet<&str> = walk.steps.iter().map(|step| step.begins).collect();
    for block in blocks {
        println!("{}:{}: {}", document.path, block.line, block.language);
        let step = walk.steps.iter().find(|step| block.text.starts_with(step.begins));
        let step = step.unwrap_or(&Step { begins: "", before: "", after: "" });
        steps.remove(step.begins);
        try_block(&machine, block, step);
    }
    steps
}

fn try_block(machine: &Machine, block: &Block, step: &Step) {
    let text = &*block.text;
    let script = match block.kind() {
        Some(Kind::Console) => {
            let (commands, expected) = console(text);
            let printed = run(machine, &format!("{}\n{commands}", step.before));
            assert!(is_printed(&expected, &printed), "line {}: printed was\n{printed}", block.line);
            return drop(run(machine, step.after));
        }
        Some(Kind::Toml) => {
            machine.write(BLOCK, text);
            "vitald check \"$BLOCK\"".to_owned()
        }
        Some(Kind::Yaml) => {
            let file = named_in(text).expect("its first line says where it is");
            machine.write(file, &text.replace("$2y$10$...", HASH));
            if text.contains("\nscrape_configs:") {
                format!("promtool check config {file}")
            } else {
                with_certificates(machine, file);
                machine.write(BLOCK, &format!("[server]\nweb_config = \"{file}\"\n"));
                "vitald check \"$BLOCK\"".to_owned()
            }
        }
        Some(Kind::Unit) => {
            let file = named_in(text).expect("its first line says where it is");
            machine.write(file, text);
            format!("load_unit {file}")
        }
        Some(Kind::Shell) => text.to_owned(),
        kind => panic!("what is to be done with a block of {:?}, {kind:?}?", block.language),
    };
    run(machine, &format!("{}\n{script}\n{}", step.before, step.after));
}

/// Runs lines of a shell as a document's reader, and answers what they print.
#[track_caller]
fn run(machine: &Machine, script: &str) -> String {
    let mut command = machine.command("bash");
    command.env("BLOCK", BLOCK).args(["-c", &format!("{READER}\n{script}")]);
    let (status, printed, complaint) = harness::output(&mut command);
    // Whole pages are printed.
    let tail: Vec<&str> = printed.lines().rev().take(20).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    assert_eq!(status, 0, "{script}\n{}\n{complaint}", tail.join("\n"));
    printed + &complaint
}

/// The file that a block is for, if its first line is a comment that names one.
fn named_in(text: &str) -> Option<&str> {
    let name = text.strip_prefix("# /")?.split([';', '\n']).next()?;
    Some(&text[2..name.len() + 3])
}

/// Puts certificates and keys beside a web configuration.
fn with_certificates(machine: &Machine, web_config: &str) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let (folder, _) = web_config.rsplit_once('/').expect("an absolute path");
    for name in ["server.crt", "ca.crt"] {
        machine.write(&format!("{folder}/{name}"), &pair.cert.pem());
    }
    machine.write(&format!("{folder}/server.key"), &pair.signing_key.serialize_pem());
}

/// The commands of a session, and what it shows of their output.
fn console(text: &str) -> (String, String) {
    let (mut commands, mut printed) = (String::new(), String::new());
    for line in text.lines() {
        let (to, line) = match line.strip_prefix("$ ") {
            Some(command) => (&mut commands, command),
            None => (&mut printed, line),
        };
        *to += &format!("{line}\n");
    }
    (commands, printed)
}

/// Whether a text is what is expected: `...` is the rest of its line, and a hash is any other one.
fn is_printed(expected: &str, printed: &str) -> bool {
    let same = |(expected, printed): (&str, &str)| match expected.split_once("...") {
        Some((beginning, _)) => printed.starts_with(beginning),
        None => without_hashes(expected) == without_hashes(printed),
    };
    expected.lines().count() == printed.lines().count()
        && expected.lines().zip(printed.lines()).all(same)
}

fn without_hashes(line: &str) -> Vec<&str> {
    let is_hash = |word: &&str| word.len() == 16 && word.chars().all(|one| one.is_ascii_hexdigit());
    line.split(' ').filter(|word| !is_hash(word)).collect()
}

#[test]
fn what_is_printed_is_compared() {
    let expected = "$ a\n$ b\nstarted: x\nunchanged: a, b, ...\nhash 0a1b2c3d4e5f6071 now; 2\n";
    let (commands, expected) = console(expected);
    assert_eq!(commands, "a\nb\n");
    assert!(is_printed(
        &expected,
        "started: x\nunchanged: a, b, c, d\nhash ffffffffffffffff now; 2\n"
    ));
    for other in [
        "started: y\nunchanged: a, b, c\nhash ffffffffffffffff now; 2\n",
        "started: x\nunchanged: a, c\nhash ffffffffffffffff now; 2\n",
        "started: x\nunchanged: a, b, c\nhash ffffffffffffffff now; 3\n",
        "started: x\nunchanged: a, b, c\nhash ffffffffffffffff now; 2\nmore\n",
        "",
    ] {
        assert!(!is_printed(&expected, other), "{other}");
    }
}

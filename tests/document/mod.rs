//! The documents, as a test reads them: what is in fences, and where they point.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::root;

/// How the line before a block says that the block is not run, and why; readers do not see it.
const NOT_RUN: &str = "<!-- not run: ";

/// A document for people.
pub struct Document {
    /// From the top of the source tree.
    pub path: String,
    pub text: String,
}

/// What is between fences.
pub struct Block {
    pub line: usize,
    pub language: String,
    pub text: String,
    /// Why it is not run, if the document says so.
    pub not_run: Option<String>,
}

/// A line outside of fences.
pub struct Line<'a> {
    pub number: usize,
    pub text: &'a str,
}

/// Every document.
pub fn documents() -> Vec<Document> {
    let folders = ["", "docs", "examples/out-of-tree"];
    let mut documents: Vec<Document> = folders
        .iter()
        .flat_map(|folder| files(&root().join(folder)))
        .filter(|file| file.extension().is_some_and(|extension| extension == "md"))
        .map(|file| {
            let path = file.strip_prefix(root()).expect("below the top").display().to_string();
            let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
            Document { path, text }
        })
        .collect();
    documents.sort_by(|a, b| a.path.cmp(&b.path));
    documents
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.is_file()).collect()
}

/// Takes a text apart: its blocks, and what is outside of them.
///
/// # Panics
///
/// Where a fence is not closed, or a block is said not to be run that is not there.
pub fn taken_apart<'a>(path: &str, text: &'a str) -> (Vec<Block>, Vec<Line<'a>>) {
    let (mut blocks, mut outside) = (Vec::new(), Vec::new());
    let mut lines = text.lines().zip(1..);
    let mut mark: Option<String> = None;
    while let Some((text, number)) = lines.next() {
        if let Some(language) = text.strip_prefix("```") {
            let inside: Vec<&str> =
                lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```").collect();
            let text = inside.iter().map(|line| format!("{line}\n")).collect();
            let language = language.to_owned();
            blocks.push(Block { line: number, language, text, not_run: mark.take() });
            continue;
        }
        assert!(mark.is_none(), "{path}:{number}: after the mark of a block comes no block");
        mark =
            text.strip_prefix(NOT_RUN).and_then(|rest| rest.strip_suffix(" -->")).map(Into::into);
        outside.push(Line { number, text });
    }
    let fences = text.lines().filter(|line| line.trim_start().starts_with("```")).count();
    assert_eq!(fences, 2 * blocks.len(), "{path}: a fence is not closed, or is indented");
    (blocks, outside)
}

impl Document {
    pub fn blocks(&self) -> Vec<Block> {
        taken_apart(&self.path, &self.text).0
    }

    pub fn lines(&self) -> Vec<Line<'_>> {
        taken_apart(&self.path, &self.text).1
    }
}

/// What is to be done with the blocks of a language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Lines of a shell.
    Shell,
    /// The same after `$ `, and what they print.
    Console,
    /// A configuration.
    Toml,
    /// A web configuration, or one of Prometheus'.
    Yaml,
    /// A drop-in of the service's unit.
    Unit,
    /// Rust, which is compiled as a test of the documentation.
    Rust,
}

impl Block {
    /// What is to be done with it; nothing where nobody knows.
    pub fn kind(&self) -> Option<Kind> {
        match self.language.as_str() {
            "sh" => Some(Kind::Shell),
            "console" => Some(Kind::Console),
            "toml" => Some(Kind::Toml),
            "yaml" => Some(Kind::Yaml),
            "ini" => Some(Kind::Unit),
            "rust" => Some(Kind::Rust),
            _ => None,
        }
    }

    /// Whether a test has to run it.
    pub fn is_run(&self) -> bool {
        self.not_run.is_none() && self.kind() != Some(Kind::Rust)
    }
}

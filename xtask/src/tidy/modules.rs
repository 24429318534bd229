//! The modules of one crate: what each defines, imports and names in its code.
//!
//! Code under `#[cfg(test)]` is left out, because a test may look at everything.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::files;

/// A path such as `crate::host::Host`, in parts.
pub(super) type Names = Vec<String>;

/// The modules of one crate by their paths; the root has the empty one.
pub(super) struct Crate {
    pub(super) files: Vec<File>,
    pub(super) modules: BTreeMap<Names, Module>,
    /// The macros with `#[macro_export]`, which are at the root wherever they are defined.
    pub(super) exported_macros: BTreeMap<String, usize>,
}

/// One file of source text.
pub(super) struct File {
    /// From the root of the workspace.
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// The lines that are compiled for tests alone.
    pub(super) test_lines: Vec<RangeInclusive<usize>>,
}

/// A module, which is a file or a part of one.
#[derive(Default)]
pub(super) struct Module {
    /// Its place in [`Crate::files`].
    pub(super) file: usize,
    /// What it defines itself, without modules.
    pub(super) defined: BTreeSet<String>,
    /// The modules that it declares, be their files in this crate or elsewhere.
    pub(super) declared: BTreeSet<String>,
    /// What it imports, by the name that it has here.
    pub(super) imports: BTreeMap<String, Import>,
    /// The modules of which it imports everything.
    pub(super) globs: Vec<Names>,
    /// The paths in its code, with their lines.
    pub(super) named: Vec<(Names, usize)>,
}

/// One name that a `use` brings.
pub(super) struct Import {
    pub(super) path: Names,
    pub(super) line: usize,
    /// Whether others can import it from here.
    pub(super) is_exported: bool,
}

impl Crate {
    /// Reads the files below `folder`, which are modules by their places.
    pub(super) fn read(root: &Path, folder: &Path, root_file: &str) -> Result<Self, String> {
        let mut texts = Vec::new();
        for path in files::below(root, folder)? {
            let below = path.strip_prefix(folder).map_err(|error| error.to_string())?;
            if let Some(module) = module_of(below, root_file) {
                texts.push((module, path.clone(), files::read(&root.join(&path))?));
            }
        }
        Crate::parse(texts)
    }

    /// Takes modules with their paths and texts.
    pub(super) fn parse(texts: Vec<(Names, PathBuf, String)>) -> Result<Self, String> {
        let mut source =
            Crate { files: Vec::new(), modules: BTreeMap::new(), exported_macros: BTreeMap::new() };
        let mut tests = Vec::new();
        for (module, path, text) in texts {
            let parsed =
                syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()))?;
            let mut reader = Reader {
                source: &mut source,
                tests: &mut tests,
                file: 0,
                module: module.clone(),
                test_lines: Vec::new(),
            };
            reader.file = reader.source.files.len();
            reader.open();
            reader.visit_file(&parsed);
            let test_lines = reader.test_lines;
            source.files.push(File { path, text, test_lines });
        }
        let is_test = |module: &Names| tests.iter().any(|test| module.starts_with(test));
        for (module, contents) in &source.modules {
            let file = &mut source.files[contents.file];
            if is_test(module) {
                file.test_lines.push(1..=usize::MAX);
            }
        }
        source.modules.retain(|module, _| !is_test(module));
        Ok(source)
    }
}

/// The module that a file is, by its place; `None` for what is not a module of this crate.
fn module_of(below: &Path, root_file: &str) -> Option<Names> {
    if below == Path::new(root_file) {
        return Some(Names::new());
    }
    if below.extension()? != "rs" || below == Path::new("main.rs") {
        return None;
    }
    let below = below.with_extension("");
    let mut module: Names = below.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    Some(module)
}

/// Collects what one file says.
struct Reader<'a> {
    source: &'a mut Crate,
    /// The modules that are compiled for tests alone.
    tests: &'a mut Vec<Names>,
    file: usize,
    module: Names,
    test_lines: Vec<RangeInclusive<usize>>,
}

impl Reader<'_> {
    /// The module that is being read.
    fn open(&mut self) -> &mut Module {
        let file = self.file;
        self.source
            .modules
            .entry(self.module.clone())
            .or_insert_with(|| Module { file, ..Module::default() })
    }

    fn define(&mut self, name: &syn::Ident) {
        self.open().defined.insert(name.to_string());
    }

    fn import(&mut self, tree: &syn::UseTree, before: &[String], is_exported: bool) {
        let with = |name: &syn::Ident| {
            let mut path = before.to_vec();
            path.push(name.to_string());
            path
        };
        let mut add = |name: &syn::Ident, path: Names, line: usize| {
            self.open().imports.insert(name.to_string(), Import { path, line, is_exported });
        };
        match tree {
            syn::UseTree::Path(path) => self.import(&path.tree, &with(&path.ident), is_exported),
            syn::UseTree::Name(name) if name.ident == "self" => {
                if let Some(last) = before.last() {
                    let name = syn::Ident::new(last, name.ident.span());
                    add(&name, before.to_vec(), name.span().start().line);
                }
            }
            syn::UseTree::Name(name) => {
                add(&name.ident, with(&name.ident), name.ident.span().start().line);
            }
            syn::UseTree::Rename(renamed) => {
                let line = renamed.ident.span().start().line;
                // A trait that is imported as `_` has no name, but is used.
                let name = if renamed.rename == "_" { &renamed.ident } else { &renamed.rename };
                add(name, with(&renamed.ident), line);
            }
            syn::UseTree::Glob(_) => self.open().globs.push(before.to_vec()),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before, is_exported);
                }
            }
        }
    }

    /// The paths in the tokens of a macro, which is code of an unknown form.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path = Names::new();
        let mut line = 0;
        let mut colons = 0;
        let mut is_field = false;
        for token in tokens {
            if let TokenTree::Ident(name) = &token {
                if colons != 2 {
                    self.name(std::mem::take(&mut path), line);
                    line = name.span().start().line;
                }
                if !is_field {
                    path.push(name.to_string());
                }
                (colons, is_field) = (0, false);
                continue;
            }
            let sign = if let TokenTree::Punct(sign) = &token { sign.as_char() } else { ' ' };
            if sign == ':' && !path.is_empty() {
                colons += 1;
                continue;
            }
            self.name(std::mem::take(&mut path), line);
            (colons, is_field) = (0, sign == '.');
            if let TokenTree::Group(group) = token {
                self.scan(group.stream());
            }
        }
        self.name(path, line);
    }

    fn name(&mut self, path: Names, line: usize) {
        if !path.is_empty() {
            self.open().named.push((path, line));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = attributes(item);
        if attributes.iter().any(is_for_tests) {
            let lines = item.span().start().line..=item.span().end().line;
            if let syn::Item::Mod(module) = item {
                let mut path = self.module.clone();
                path.push(module.ident.to_string());
                self.tests.push(path);
            }
            self.test_lines.push(lines);
            return;
        }
        match item {
            syn::Item::Const(item) => self.define(&item.ident),
            syn::Item::Enum(item) => self.define(&item.ident),
            syn::Item::Fn(item) => self.define(&item.sig.ident),
            syn::Item::Static(item) => self.define(&item.ident),
            syn::Item::Struct(item) => self.define(&item.ident),
            syn::Item::Trait(item) => self.define(&item.ident),
            syn::Item::Type(item) => self.define(&item.ident),
            syn::Item::Union(item) => self.define(&item.ident),
            syn::Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    self.define(name);
                    if attributes.iter().any(|it| it.path().is_ident("macro_export")) {
                        self.source.exported_macros.insert(name.to_string(), self.file);
                    }
                }
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            self.open();
            visit::visit_item_mod(self, item);
            self.module.pop();
        } else {
            self.open().declared.insert(item.ident.to_string());
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_exported = !matches!(item.vis, syn::Visibility::Inherited);
        self.import(&item.tree, &[], is_exported);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let is_test = match item {
            syn::ImplItem::Fn(function) => function.attrs.iter().any(is_for_tests),
            syn::ImplItem::Const(constant) => constant.attrs.iter().any(is_for_tests),
            _ => false,
        };
        if is_test {
            self.test_lines.push(item.span().start().line..=item.span().end().line);
        } else {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.name(names, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        visit::visit_macro(self, invoked);
        self.scan(invoked.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether it is `#[cfg(test)]`, alone or with more conditions.
fn is_for_tests(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else { return false };
    let mut condition = list.tokens.to_string();
    condition.retain(|sign| !sign.is_whitespace());
    list.path.is_ident("cfg")
        && (condition == "test"
            || condition.strip_prefix("all(").is_some_and(|rest| {
                let rest = rest.strip_suffix(')').unwrap_or(rest);
                rest.split(',').any(|one| one == "test") && !rest.contains("any(")
            }))
}

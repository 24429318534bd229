//! Where the daemon is that a command talks to.
//!
//! A configuration says where its daemon is to listen. The one that runs may listen elsewhere: the file may
//! have been changed since, and it may be wrong. So a file gives places to ask, and whether the daemon that
//! answers there is the one that reads the file, its answer says.

use super::load::{config_file, load, load_from};
use super::registry::Registry;
use super::terminal::{exit, fail, refuse};
use crate::config::parse_address;
use crate::plan::{Address, Admin, Listen, Plan, Serve};
use crate::regular::read_text;
use crate::web_config;
use clap::ArgMatches;
use std::path::PathBuf;
use std::process::ExitCode;
use toml::de::{DeTable, DeValue};
use vitald_core::settings::{Mistake, Node, Origin, Setting, Value};

/// The socket of the shipped service, and of a container with administration.
pub(super) const SERVICE_SOCKET: &str = "unix:/run/vitald/vitald.sock";
/// What an address looks like.
const EXPECTED: &str = "expected HOST:PORT or unix:/PATH";
/// Where a daemon listens whose configuration does not say.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9100";

/// A listener that a command can ask, for who has named another one.
pub(super) fn without_tls() -> String {
    format!("that asks for neither TLS nor a password, such as {SERVICE_SOCKET}")
}

/// An address to ask, and the token to show there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) token: Option<String>,
}

/// Where to look for the daemon that is to reload.
pub(super) struct Search<'a> {
    /// In the order in which they are asked.
    pub(super) places: Vec<Place>,
    /// The command line, if it says where the daemon is. Then the configuration is not read: the file may be on a file
    /// system that hangs, and it is the daemon that reads it.
    given_by: Option<(&'a ArgMatches, Registry<'a>)>,
    /// The file that it must read.
    pub(super) file: Option<PathBuf>,
    /// The file is valid, and no listener in it takes administration.
    pub(super) lacks_admin: bool,
    /// What is wrong with the file.
    pub(super) mistakes: Vec<Mistake>,
}

impl<'a> Search<'a> {
    /// What the command line says of the daemon, or the configuration that it names.
    pub(super) fn of(own: &'a ArgMatches, registry: Registry<'a>) -> Result<Self, ExitCode> {
        let token = token(own)?;
        match given(own)? {
            Some(address) => Ok(Search {
                places: vec![Place { address, token }],
                given_by: Some((own, registry)),
                file: config_file(own),
                lacks_admin: false,
                mistakes: Vec::new(),
            }),
            None => Ok(Search::configured(own, registry, token.as_deref())),
        }
    }

    /// What the configuration says, and the token that is to be shown in place of its own.
    fn configured(own: &ArgMatches, registry: Registry<'_>, token: Option<&str>) -> Self {
        let file = config_file(own);
        let configured = Configured::by(own, registry);
        let listeners = configured
            .listeners
            .iter()
            .filter(|one| one.serve.admin != Admin::Off && takes_commands(one) != Some(false));
        let of_listener = |listen: &Listen| Place {
            address: listen.address.clone(),
            token: token.map(str::to_owned).or_else(|| shown_by(listen)),
        };
        let places: Vec<Place> = listeners.map(of_listener).collect();
        let lacks_admin = places.is_empty() && configured.mistakes.is_empty();
        let named_by = match (&file, configured.by_environment) {
            (Some(_), _) => NamedBy::File,
            (None, true) => NamedBy::Environment,
            (None, false) => NamedBy::Default,
        };
        let places = with_usual(places, named_by);
        Search { places, given_by: None, file, lacks_admin, mistakes: configured.mistakes }
    }

    /// Whether the user has said where the daemon is.
    pub(super) fn is_given(&self) -> bool {
        self.given_by.is_some()
    }

    /// Where else the daemon may be whose listener the user has named, by the configuration. The token is for that
    /// listener alone.
    pub(super) fn others(&self) -> Vec<Place> {
        let by = |(own, registry)| Search::configured(own, registry, None).places;
        self.given_by.map_or_else(Vec::new, by)
    }
}

/// What has named the places of a search.
#[derive(Clone, Copy)]
enum NamedBy {
    /// A file, and the environment above it.
    File,
    /// The environment alone.
    Environment,
    /// Neither: they are the built-in ones.
    Default,
}

/// Adds the places where a daemon usually is. Where a file is named, they are a last resort; without one the
/// service goes before a daemon that was started by hand.
fn with_usual(mut places: Vec<Place>, named_by: NamedBy) -> Vec<Place> {
    let usual = [SERVICE_SOCKET, DEFAULT_ADDRESS]
        .into_iter()
        .filter_map(|address| Some(Place { address: parse_address(address).ok()?, token: None }));
    match named_by {
        NamedBy::Environment => {}
        NamedBy::File => {
            for place in usual {
                if places.iter().all(|other| other.address != place.address) {
                    places.push(place);
                }
            }
        }
        NamedBy::Default => places.splice(..0, usual.take(1)).for_each(drop),
    }
    places
}

/// Where the daemon listens for everyone: `--to`, or the first listener of the configuration; with what is wrong with that.
pub(super) fn first(
    own: &ArgMatches,
    registry: Registry<'_>,
) -> Result<(Place, Vec<Mistake>), ExitCode> {
    let token = token(own)?;
    if let Some(address) = given(own)? {
        return Ok((Place { address, token }, Vec::new()));
    }
    let Configured { listeners, mistakes, .. } = Configured::by(own, registry);
    let that = |takes| listeners.iter().find(|listen| takes_commands(listen) == takes);
    match that(Some(true)).or_else(|| that(None)) {
        Some(listen) => Ok((Place { address: listen.address.clone(), token }, mistakes)),
        None if listeners.is_empty() => Err(refuse(&mistakes)),
        None => Err(fail(
            exit::CONFIG,
            &format_args!(
                "every listener asks for TLS or a password by its web configuration, and this command has neither; \
                 add a listener that asks for none, such as \"{SERVICE_SOCKET}\""
            ),
        )),
    }
}

/// Whether a listener answers a command, which speaks no TLS and has no password. A web configuration that
/// cannot be read says neither.
fn takes_commands(listen: &Listen) -> Option<bool> {
    let Some(file) = listen.serve.web_config.as_deref() else { return Some(true) };
    let protection = web_config::check_file(file, file).ok()?;
    Some(!protection.encrypts && !protection.wants_passwords)
}

/// The address of `--to`.
fn given(own: &ArgMatches) -> Result<Option<Address>, ExitCode> {
    let Some(to) = own.get_one::<String>("to") else { return Ok(None) };
    let address = parse_given(to);
    address.map(Some).map_err(|error| fail(exit::USAGE, &format!("--to {to}: {error}")))
}

/// An address as a person may write it: as a URL, too.
fn parse_given(to: &str) -> Result<Address, String> {
    let rest = match to.split_once("://") {
        None => to,
        Some(_) if to.starts_with("unix:") => to,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            return Err(format!("this command speaks no TLS; name a listener {}", without_tls()));
        }
        Some(_) => return Err(EXPECTED.to_owned()),
    };
    let address = rest.trim_end_matches('/');
    parse_address(address).or_else(|_| resolve(address))
}

/// The token in the file of `--token-file`.
fn token(own: &ArgMatches) -> Result<Option<String>, ExitCode> {
    let Some(file) = own.get_one::<PathBuf>("token-file") else { return Ok(None) };
    let text = read_text(file);
    let text = text.map_err(|error| fail(exit::USAGE, &format!("{}: {error}", file.display())))?;
    Ok(Some(text.trim().to_owned()))
}

/// The token that a listener asks for. The daemon answers a user who may not read it that it wants one.
fn shown_by(listen: &Listen) -> Option<String> {
    match &listen.serve.admin {
        Admin::Token(file) => Some(read_text(&file.path().ok()?).ok()?.trim().to_owned()),
        Admin::Off | Admin::Local => None,
    }
}

/// A host name and port, by the system's resolver: IPv4 first, since `localhost` has both and the
/// daemon's default is to listen there.
pub(super) fn resolve(to: &str) -> Result<Address, String> {
    let expected = || EXPECTED.to_owned();
    if to.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(expected());
    }
    let found = std::net::ToSocketAddrs::to_socket_addrs(to).map_err(|error| error.to_string())?;
    let socket = found.min_by_key(|address| !address.is_ipv4()).ok_or_else(expected)?;
    Ok(Address::Tcp { socket, dual: false })
}

/// The listeners of a configuration.
struct Configured {
    listeners: Vec<Listen>,
    /// The environment names them.
    by_environment: bool,
    /// What is wrong with the configuration, whose listeners are then those that can be made out.
    mistakes: Vec<Mistake>,
}

impl Configured {
    fn by(own: &ArgMatches, registry: Registry<'_>) -> Self {
        let (plan, mistakes) = match load(own, registry) {
            Ok(plan) => return Configured::of(plan),
            Err(mistakes) => {
                (load_from(None, registry.collectors, registry.outputs).ok(), mistakes)
            }
        };
        // The environment stands above the file, and what stands in neither is built in.
        let above = plan.map(Configured::of);
        let text = config_file(own).and_then(|file| read_text(&file).ok());
        let listeners = match (above, text.as_deref().and_then(listeners_in)) {
            (Some(above), _) if above.by_environment => return Configured { mistakes, ..above },
            (_, Some(listeners)) => listeners,
            (Some(above), None) => above.listeners,
            (None, None) => Vec::new(),
        };
        Configured { listeners, by_environment: false, mistakes }
    }

    fn of(plan: Plan) -> Self {
        let server = plan.written.entries.get("server").map(|server| &server.node);
        let listen = match server {
            Some(Node::Table(server)) => server.entries.get("listen"),
            _ => None,
        };
        let by_environment =
            listen.is_some_and(|listen| matches!(listen.origin, Origin::Environment(_)));
        Configured { listeners: plan.server.listen, by_environment, mistakes: Vec::new() }
    }
}

/// The listeners that can be made out in a text that is wrong somewhere; nothing if it names none.
fn listeners_in(text: &str) -> Option<Vec<Listen>> {
    let (table, _) = DeTable::parse_recoverable(text);
    let server = table.get_ref().get("server")?.get_ref().as_table()?;
    let word = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
    // A rule that cannot be read is not the one that runs.
    let rule = |word: String| Admin::decode(&Value::new(word, Origin::Default)).ok();
    let common = server.get("admin").and_then(|admin| rule(word(admin.get_ref())?));
    let listener = |value: &DeValue<'_>| {
        let (address, admin) = match value.as_table() {
            None => (word(value)?, None),
            Some(table) => (
                word(table.get("address")?.get_ref())?,
                table.get("admin").and_then(|admin| rule(word(admin.get_ref())?)),
            ),
        };
        let admin = admin.or_else(|| common.clone()).unwrap_or(Admin::Local);
        Some(Listen { address: parse_address(&address).ok()?, serve: Serve::with(admin) })
    };
    let listen = server.get("listen")?.get_ref();
    Some(match listen.as_array() {
        Some(items) => items.iter().filter_map(|item| listener(item.get_ref())).collect(),
        None => listener(listen).into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str) -> Place {
        Place { address: parse_address(address).expect("an address"), token: None }
    }

    #[test]
    fn an_address_may_be_a_url_but_not_of_tls() {
        let expected = Ok(parse_address("127.0.0.1:1").expect("an address"));
        for to in ["127.0.0.1:1", "http://127.0.0.1:1", "HTTP://127.0.0.1:1/"] {
            assert_eq!(parse_given(to), expected, "{to}");
        }
        for to in ["unix:///a", "unix:/a://b"] {
            assert!(matches!(parse_given(to), Ok(Address::Unix(_))), "{to}");
        }
        for to in ["https://127.0.0.1:1/", "https://localhost", "HTTPS://[::1]:1"] {
            let refused = parse_given(to).expect_err("it is refused");
            assert!(refused.starts_with("this command speaks no TLS; name a listener"), "{to}");
        }
        for to in ["http://127.0.0.1:1/metrics", "ftp://127.0.0.1:1", "127.0.0.1", ""] {
            assert_eq!(parse_given(to), Err(EXPECTED.to_owned()), "{to}");
        }
    }

    #[test]
    fn a_configuration_is_not_read_before_the_listener_that_is_given_has_been_asked() {
        let registry = Registry { collectors: &[], outputs: &[] };
        let search = |more: &[&str]| {
            let line = ["vitald", "reload", "--config", "/nonexistent/file"];
            let command = crate::cli::arguments::command(registry);
            let matches = command.get_matches_from(line.iter().chain(more));
            let (_, own) = matches.subcommand().expect("a command");
            let search = Search::of(own, registry).expect("places");
            (search.mistakes.len(), search.places.len(), search.others().len())
        };
        assert_eq!(search(&["--to", "127.0.0.1:1"]), (0, 1, 2));
        // Otherwise it is read, and says why there is nothing in it.
        assert_eq!(search(&[]), (1, 2, 0));
    }

    #[test]
    fn where_no_file_is_named_the_service_goes_first() {
        let built_in = || vec![place(DEFAULT_ADDRESS)];
        let [service, default] = [SERVICE_SOCKET, DEFAULT_ADDRESS].map(place);
        assert_eq!(with_usual(built_in(), NamedBy::Default), [service, default]);
        // What the environment names is asked alone: nothing else tells one daemon from another.
        let named = || vec![place("127.0.0.1:1")];
        assert_eq!(with_usual(named(), NamedBy::Environment), named());
    }

    #[test]
    fn a_daemon_that_reads_the_file_may_still_listen_where_the_file_does_not_say() {
        let [service, default] = [SERVICE_SOCKET, DEFAULT_ADDRESS].map(place);
        let named = || place("127.0.0.1:1");
        let places = with_usual(vec![named()], NamedBy::File);
        assert_eq!(places, [named(), service, default]);
        let [service, default] = [SERVICE_SOCKET, DEFAULT_ADDRESS].map(place);
        let places = with_usual(vec![place(DEFAULT_ADDRESS)], NamedBy::File);
        assert_eq!(places, [default, service]);
    }

    #[test]
    fn listeners_are_made_out_in_a_file_that_is_wrong() {
        let found = |text: &str| {
            let listeners = listeners_in(text)?;
            Some(
                listeners
                    .iter()
                    .map(|one| format!("{} {}", one.address, one.serve.admin))
                    .collect(),
            )
        };
        let expected = |found: &[&str]| Some(found.iter().map(|one| (*one).to_owned()).collect());
        for (text, listeners) in [
            ("[scrpe]\n[server]\n", None),
            ("nonsense", None),
            ("[server]\nlisten = 1\n", expected(&[])),
            ("[server]\nlisten = [\"nowhere\", \":1\"]\n", expected(&[":1 local"])),
            ("[server]\nlisten = \":1\"\nadmin = \"of\"\n", expected(&[":1 local"])),
            ("[server]\nlisten = [\":1\"]\nadmin = \"off\"\n[a\n", expected(&[":1 off"])),
            (
                "[server]\nlisten = [{ address = \":1\", admin = \"off\" }, \"unix:/a\"]\n[x]\n",
                expected(&[":1 off", "unix:/a local"]),
            ),
        ] {
            let found: Option<Vec<String>> = found(text);
            assert_eq!(found, listeners, "{text}");
        }
    }
}

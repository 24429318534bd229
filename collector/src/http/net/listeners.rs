//! The listeners as a reload sees them: staged beside what runs, swapped, stopped in peace.
//!
//! Staging takes everything that a listener needs: its address, its descriptor, its place in the
//! reactor. Everything is bound before anything listens, so that clients notice nothing of a
//! configuration that is refused. What can still fail after it is a port that a stopping listener
//! has to share, and it fails before anything is changed.

use super::connections::Connections;
use super::limits::{check_room, descriptor_limit};
use super::listener::Listener;
use super::service::Answer;
use super::socket::{BindError, BoundSocket};
use super::socket_file::Remover;
use crate::http::counters::HttpCounters;
use crate::plan::{Address, Listen, Server, SocketAccess};
use crate::reload::ListenerChanges;
use crate::sync::lock;
use crate::web_config::{Loaded, WebConfig};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use vitald_core::settings::{Mistake, Origin};

/// How long a swap waits until the files of sockets that were closed are removed.
const REMOVAL: Duration = Duration::from_secs(1);

/// The listeners of the daemon and the connections they accepted. Staging and swapping may be done
/// on any thread, and should be on one that may hang: unix sockets are on file systems.
pub(crate) struct Listeners {
    connections: Arc<Connections>,
    running: Mutex<Vec<Arc<Listener>>>,
    /// Those that running listeners have.
    web_configs: Mutex<Vec<Arc<WebConfig>>>,
    remover: Arc<Remover>,
}

/// A web configuration, and what was read of it if it is in force already.
type StagedWebConfig = (Arc<WebConfig>, Option<Loaded>);

/// Listeners that are ready and not yet swapped in. Dropping them closes them.
pub(crate) struct StagedListeners {
    server: Server,
    /// What the swap will do.
    changes: ListenerChanges,
    /// Those that listen already.
    listening: Vec<Arc<Listener>>,
    /// Those that share a port with listeners that stop, and listen in the swap: before it, a
    /// connection must not go to them.
    bound: Vec<(Listen, BoundSocket)>,
    /// The listeners that stop and share their port until then.
    sharing: Vec<Arc<Listener>>,
    web_configs: Vec<StagedWebConfig>,
}

impl StagedListeners {
    /// What a swap to these will do.
    pub(crate) fn changes(&self) -> &ListenerChanges {
        &self.changes
    }

    /// The web configuration that a listener is to have.
    fn web_config(&self, listen: &Listen) -> Option<Arc<WebConfig>> {
        let path = listen.serve.web_config.as_deref()?;
        let found = self.web_configs.iter().find(|(config, _)| config.path() == path);
        found.map(|(config, _)| Arc::clone(config))
    }
}

impl Drop for StagedListeners {
    fn drop(&mut self) {
        self.sharing.iter().for_each(|listener| listener.share_port(false));
    }
}

impl Listeners {
    /// None yet. To be called within the runtime that is to serve.
    pub(crate) fn new(counters: Arc<HttpCounters>) -> Arc<Self> {
        Arc::new(Listeners {
            connections: Connections::new(counters, Handle::current()),
            running: Mutex::new(Vec::new()),
            web_configs: Mutex::default(),
            remover: Arc::default(),
        })
    }

    /// Makes ready what is new and touches nothing that runs. What listens on an address of its own
    /// takes connections into its backlog at once and answers them after the swap.
    ///
    /// A running unix socket whose file was removed is bound anew.
    ///
    /// # Errors
    ///
    /// Every address on which no listener can be had, and why.
    pub(crate) fn stage(&self, server: &Server) -> Result<StagedListeners, Vec<Mistake>> {
        check_room(server.listen.len(), descriptor_limit())
            .map_err(|reason| vec![unplaced(reason)])?;
        let web_configs = self.stage_web_configs(server)?;
        let _runtime = self.connections.handle().enter();
        let running = lock(&self.running).clone();
        let lost: Vec<&Arc<Listener>> = running
            .iter()
            .filter(|listener| server.listen.iter().any(|new| new.address == listener.address))
            .filter(|listener| !listener.can_be_found())
            .collect();
        let is_kept =
            |listener: &Listener| !lost.iter().any(|lost| lost.address == listener.address);
        let mut staged = StagedListeners {
            server: server.clone(),
            changes: changes(&running, &server.listen, is_kept),
            listening: Vec::new(),
            bound: Vec::new(),
            sharing: Vec::new(),
            web_configs,
        };
        let earlier = |listen: &Listen| {
            running.iter().find(|listener| listener.address == listen.address).map(|found| &**found)
        };
        let is_new = |listen: &&Listen| !earlier(listen).is_some_and(is_kept);
        let is_path = |listen: &&Listen| matches!(listen.address, Address::Unix(_));
        let (paths, ports): (Vec<&Listen>, Vec<&Listen>) =
            server.listen.iter().filter(is_new).partition(is_path);
        let mut refused: Vec<(&Listen, BindError)> = Vec::new();
        let (mut bound, mut in_use) = (Vec::new(), Vec::new());
        // From what does not show to what does: a port, a file, an option of a listener that runs.
        for listen in ports.into_iter().chain(paths) {
            match BoundSocket::all(listen, &self.remover) {
                Ok(sockets) => bound.extend(sockets.into_iter().map(|socket| (listen, socket))),
                Err(BindError::InUse) => in_use.push(listen),
                Err(error) => refused.push((listen, error)),
            }
            if refused.last().is_some_and(|(_, error)| error.is_general()) {
                return Err(mistakes(&server.listen, refused));
            }
        }
        for listen in in_use {
            if let Err(error) = self.share(listen, &running, &mut staged) {
                refused.push((listen, error));
            }
        }
        if refused.is_empty() {
            for (listen, socket) in bound {
                match socket.listen() {
                    Ok(socket) => {
                        let listener = match earlier(listen) {
                            Some(earlier) => Listener::in_place_of(earlier, listen, socket),
                            None => Listener::new(listen, socket, staged.web_config(listen)),
                        };
                        staged.listening.push(listener);
                    }
                    Err(error) => refused.push((listen, error)),
                }
            }
        }
        if refused.is_empty() { Ok(staged) } else { Err(mistakes(&server.listen, refused)) }
    }

    /// Reads the web configurations of listeners, beside what is in force.
    fn stage_web_configs(&self, server: &Server) -> Result<Vec<StagedWebConfig>, Vec<Mistake>> {
        let in_force = lock(&self.web_configs).clone();
        let mut staged: Vec<StagedWebConfig> = Vec::new();
        let mut mistakes = Vec::new();
        for path in server.listen.iter().filter_map(|listen| listen.serve.web_config.as_deref()) {
            if staged.iter().any(|(config, _)| config.path() == path) {
                continue;
            }
            let read = match in_force.iter().find(|config| config.path() == path) {
                Some(config) => config.load().map(|loaded| (Arc::clone(config), Some(loaded))),
                None => WebConfig::open(path).map(|config| (config, None)),
            };
            match read {
                Ok(read) => staged.push(read),
                Err(wrong) => mistakes.extend(wrong),
            }
        }
        if mistakes.is_empty() { Ok(staged) } else { Err(mistakes) }
    }

    /// Reads the web configurations in force again, whether their files have changed or not. May block.
    ///
    /// # Errors
    ///
    /// Every mistake; a configuration with one stays as it was.
    pub(crate) fn read_web_configs(&self) -> Result<usize, Vec<Mistake>> {
        let in_force = lock(&self.web_configs).clone();
        let mut mistakes = Vec::new();
        for config in &in_force {
            match config.load() {
                Ok(loaded) => config.put(loaded),
                Err(wrong) => mistakes.extend(wrong),
            }
        }
        if mistakes.is_empty() { Ok(in_force.len()) } else { Err(mistakes) }
    }

    /// Binds an address whose port a listener has that is going to stop.
    fn share(
        &self,
        listen: &Listen,
        running: &[Arc<Listener>],
        staged: &mut StagedListeners,
    ) -> Result<(), BindError> {
        let in_the_way = in_the_way(running, &staged.server, listen);
        if in_the_way.is_empty() {
            return Err(BindError::InUse);
        }
        in_the_way.iter().for_each(|listener| listener.share_port(true));
        staged.sharing.extend(in_the_way);
        let bound = BoundSocket::bind(&listen.address, true, &self.remover)?;
        staged.bound.push((listen.clone(), bound));
        Ok(())
    }

    /// Makes the staged listeners the running ones. Unchanged ones and their connections stay; the
    /// connections of those that stop end after the request they are at.
    ///
    /// # Errors
    ///
    /// A port that was shared and is in use now all the same, or a unix socket that cannot be given to whom
    /// it should let in. Then everything runs as before.
    pub(crate) fn swap(
        &self,
        mut staged: StagedListeners,
    ) -> Result<ListenerChanges, Vec<Mistake>> {
        let _runtime = self.connections.handle().enter();
        let mut new = std::mem::take(&mut staged.listening);
        for (listen, bound) in std::mem::take(&mut staged.bound) {
            let socket = bound.listen().map_err(|error| vec![mistake(&listen, &error)])?;
            new.push(Listener::new(&listen, socket, staged.web_config(&listen)));
        }
        let mut running = lock(&self.running).clone();
        let is_new = |address: &Address| new.iter().any(|new| new.address == *address);
        let kept = staged.server.listen.iter().filter(|listen| !is_new(&listen.address));
        give(&running, kept)?;
        let mut web_configs = Vec::new();
        for (config, loaded) in &mut staged.web_configs {
            if let Some(loaded) = loaded.take() {
                config.put(loaded);
            }
            let mut with_it = staged.server.listen.iter().map(|listen| &listen.serve);
            config.set_beside_token(with_it.any(|serve| {
                serve.wants_token() && serve.web_config.as_deref() == Some(config.path())
            }));
            web_configs.push(Arc::clone(config));
        }
        self.connections.counters.web_configs_are(&web_configs);
        *lock(&self.web_configs) = web_configs;
        let connections = &self.connections;
        connections.limits.set(&staged.server);
        running.retain(|listener| {
            let listen = staged.server.listen.iter().find(|new| new.address == listener.address);
            let Some(listen) = listen else {
                listener.close(connections);
                return false;
            };
            listener.set_serve(&listen.serve, staged.web_config(listen));
            let is_replaced = new.iter().any(|new| new.address == listener.address);
            if is_replaced {
                listener.stop(connections);
            }
            !is_replaced
        });
        // What a new one shared its port with has stopped.
        new.iter().for_each(|listener| listener.share_port(false));
        running.extend(new.iter().cloned());
        *lock(&self.running) = running;
        if connections.is_answered() {
            new.iter().for_each(|listener| listener.start(connections));
        }
        self.remover.wait_for_all(REMOVAL);
        Ok(std::mem::take(&mut staged.changes))
    }

    /// Starts to answer, on what is bound now and on what a swap will bring. To be called once.
    pub(crate) fn open<A: Answer>(&self, answer: Arc<A>) {
        self.connections.set_answer(answer);
        for listener in lock(&self.running).iter() {
            listener.start(&self.connections);
        }
    }

    /// Where the listeners are bound in truth: for port 0 the port that the kernel chose. Unix
    /// sockets are left out.
    pub(crate) fn bound(&self) -> Vec<SocketAddr> {
        lock(&self.running).iter().filter_map(|listener| listener.bound()).collect()
    }

    /// Stops listening, lets the requests under way end and cuts what is left at the deadline. Answers
    /// how many connections had to be cut.
    pub(crate) async fn stop(&self, deadline: Instant) -> usize {
        let running = std::mem::take(&mut *lock(&self.running));
        for listener in &running {
            listener.close(&self.connections);
        }
        drop(running);
        let cut = self.connections.end_by(deadline).await;
        let removed = self.remover.all_removed();
        let _ = tokio::time::timeout_at(deadline.into(), removed).await;
        cut
    }

    /// How many accepted connections wait for room.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> u64 {
        self.connections.waiting()
    }

    #[cfg(test)]
    pub(super) fn set_head_bytes(&self, bytes: u64) {
        self.connections.limits.set_head_bytes(bytes);
    }

    /// How much is held of requests that have not come whole.
    #[cfg(test)]
    pub(super) fn held_heads(&self) -> u64 {
        self.connections.heads.held()
    }

    #[cfg(test)]
    pub(in crate::http) fn set_timeouts(&self, head: Duration, stall: Duration) {
        self.connections.limits.set_timeouts(head, stall);
    }
}

/// Lets in at the unix sockets that stay whom the new configuration names, or at each whom the earlier one
/// names if one of them cannot be changed.
fn give<'a>(
    running: &[Arc<Listener>],
    kept: impl Iterator<Item = &'a Listen>,
) -> Result<(), Vec<Mistake>> {
    let mut given: Vec<(&Arc<Listener>, SocketAccess)> = Vec::new();
    for listen in kept {
        let found = running.iter().find(|listener| listener.address == listen.address);
        let Some(listener) = found else { continue };
        let before = listener.access();
        match listener.give(&listen.serve.access) {
            Ok(true) => given.push((listener, before)),
            Ok(false) => {}
            Err(reason) => {
                // Reported is the mistake; these were possible before.
                for (listener, before) in given {
                    let _ = listener.give_again(&before);
                }
                return Err(vec![mistake(listen, &BindError::Access(reason))]);
            }
        }
    }
    Ok(())
}

/// What a swap to these addresses does, if of the running listeners only some can be kept.
fn changes(
    running: &[Arc<Listener>],
    listen: &[Listen],
    can_be_kept: impl Fn(&Listener) -> bool,
) -> ListenerChanges {
    let mut changes = ListenerChanges::default();
    for listen in listen {
        let is_kept = running
            .iter()
            .any(|listener| listener.address == listen.address && can_be_kept(listener));
        let list = if is_kept { &mut changes.unchanged } else { &mut changes.started };
        list.push(listen.address.to_string());
    }
    let is_wanted =
        |listener: &Listener| listen.iter().any(|listen| listen.address == listener.address);
    let stopped = running.iter().filter(|listener| !is_wanted(listener));
    changes.stopped.extend(stopped.map(|listener| listener.address.to_string()));
    changes
}

/// Running listeners that stop and have the port of a new one.
fn in_the_way(running: &[Arc<Listener>], server: &Server, new: &Listen) -> Vec<Arc<Listener>> {
    let stops = |listener: &Listener| {
        !server.listen.iter().any(|listen| listen.address == listener.address)
    };
    let has_port = |listener: &Listener| match (&listener.address, &new.address) {
        (Address::Tcp { socket: old, .. }, Address::Tcp { socket: new, .. }) => {
            old.port() == new.port()
        }
        _ => false,
    };
    running.iter().filter(|listener| has_port(listener) && stops(listener)).cloned().collect()
}

/// The mistakes in the order of the configuration.
fn mistakes(listen: &[Listen], mut refused: Vec<(&Listen, BindError)>) -> Vec<Mistake> {
    refused.sort_by_key(|(refused, _)| listen.iter().position(|it| std::ptr::eq(it, *refused)));
    refused.iter().map(|(listen, error)| mistake(listen, error)).collect()
}

fn mistake(listen: &Listen, error: &BindError) -> Mistake {
    unplaced(format!("cannot listen on {}: {error}", listen.address))
}

fn unplaced(message: String) -> Mistake {
    Mistake { origin: Origin::Default, path: "server.listen".to_owned(), message }
}

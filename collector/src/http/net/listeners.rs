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
use super::wanted::{Wanted, WantedListeners, mistake, unplaced};
use crate::http::counters::HttpCounters;
use crate::plan::{Address, Server};
use crate::reload::{ListenerChange, ListenerChanges};
use crate::sync::lock;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use vitald_core::settings::Mistake;

/// How long a swap waits until the files of sockets that were closed are removed.
const REMOVAL: Duration = Duration::from_secs(1);

/// The listeners of the daemon and the connections they accepted. Staging and swapping may be done
/// on any thread, and should be on one that may hang: unix sockets are on file systems.
pub(crate) struct Listeners {
    connections: Arc<Connections>,
    running: Mutex<Running>,
    remover: Arc<Remover>,
}

/// Those that run.
#[derive(Default)]
struct Running {
    listeners: Vec<Arc<Listener>>,
    /// There will be none any more, whatever a swap has under way: it may have hung since before the end.
    has_stopped: bool,
}

/// Listeners that are ready and not yet swapped in. Dropping them closes them.
pub(crate) struct StagedListeners {
    wanted: WantedListeners,
    /// What the swap will do.
    changes: ListenerChanges,
    /// Those that listen already.
    listening: Vec<Arc<Listener>>,
    /// Those that share a port with listeners that stop, and listen in the swap: before it, a
    /// connection must not go to them.
    bound: Vec<(Arc<Wanted>, BoundSocket)>,
    sharing: Sharing,
}

/// Listeners that stop and share their port until then.
#[derive(Default)]
struct Sharing(Vec<Arc<Listener>>);

impl StagedListeners {
    /// What is to be served.
    pub(crate) fn wanted(&self) -> &WantedListeners {
        &self.wanted
    }

    /// What a swap to these will do.
    pub(crate) fn changes(&self) -> &ListenerChanges {
        &self.changes
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.0.iter().for_each(|listener| listener.share_port(false));
    }
}

impl Listeners {
    /// None yet. To be called within the runtime that is to serve.
    pub(crate) fn new(counters: Arc<HttpCounters>) -> Arc<Self> {
        Arc::new(Listeners {
            connections: Connections::new(counters, Handle::current()),
            running: Mutex::default(),
            remover: Arc::default(),
        })
    }

    /// Reads what has to be read for listeners, beside what is in force.
    ///
    /// # Errors
    ///
    /// Every mistake.
    pub(crate) fn read(&self, server: &Server) -> Result<WantedListeners, Vec<Mistake>> {
        WantedListeners::read(server, &self.connections.counters.web_configs())
    }

    /// Makes ready what is new and touches nothing that runs. What listens on an address of its own
    /// takes connections into its backlog at once and answers them after the swap.
    ///
    /// A running unix socket whose file was removed is bound anew.
    ///
    /// # Errors
    ///
    /// Every address on which no listener can be had, and why.
    pub(crate) fn stage(&self, wanted: WantedListeners) -> Result<StagedListeners, Vec<Mistake>> {
        check_room(wanted.each.len(), descriptor_limit())
            .map_err(|reason| vec![unplaced(reason)])?;
        let _runtime = self.connections.handle().enter();
        let running = self.running();
        let lost: Vec<&Address> = running
            .iter()
            .filter(|listener| wanted.of(&listener.address).is_some())
            .filter(|listener| !listener.can_be_found())
            .map(|listener| &listener.address)
            .collect();
        let is_kept = |listener: &Listener| !lost.contains(&&listener.address);
        let earlier =
            |one: &Wanted| running.iter().find(|listener| listener.address == one.listen.address);
        let is_new = |one: &&Arc<Wanted>| !earlier(one).is_some_and(|earlier| is_kept(earlier));
        let is_path = |one: &&Arc<Wanted>| matches!(one.listen.address, Address::Unix(_));
        let (paths, ports): (Vec<&Arc<Wanted>>, Vec<&Arc<Wanted>>) =
            wanted.each.iter().filter(is_new).partition(is_path);
        let mut refused: Vec<(&Wanted, BindError)> = Vec::new();
        let (mut bound, mut in_use) = (Vec::new(), Vec::new());
        // From what does not show to what does: a port, a file, an option of a listener that runs.
        for one in ports.into_iter().chain(paths) {
            match BoundSocket::all(&one.listen.address, &one.access, &self.remover) {
                Ok(sockets) => bound.extend(sockets.into_iter().map(|socket| (one, socket))),
                Err(BindError::InUse) => in_use.push(one),
                Err(error) => refused.push((one, error)),
            }
            if refused.last().is_some_and(|(_, error)| error.is_general()) {
                return Err(mistakes(&wanted, refused));
            }
        }
        let (mut sharing, mut bound_beside) = (Sharing::default(), Vec::new());
        for one in in_use {
            match self.bind_beside(in_the_way(&running, &wanted, one), one, &mut sharing) {
                Ok(socket) => bound_beside.push((Arc::clone(one), socket)),
                Err(error) => refused.push((one, error)),
            }
        }
        let mut listening = Vec::new();
        if refused.is_empty() {
            for (one, socket) in bound {
                match socket.listen() {
                    Ok(socket) => listening.push(match earlier(one) {
                        Some(earlier) => Listener::in_place_of(earlier, one, socket),
                        None => Listener::new(one, socket),
                    }),
                    Err(error) => refused.push((one, error)),
                }
            }
        }
        if !refused.is_empty() {
            return Err(mistakes(&wanted, refused));
        }
        let changes = changes(&running, &wanted, is_kept);
        Ok(StagedListeners { wanted, changes, listening, bound: bound_beside, sharing })
    }

    /// Binds an address whose port listeners have that are going to stop.
    fn bind_beside(
        &self,
        in_the_way: Vec<Arc<Listener>>,
        one: &Wanted,
        sharing: &mut Sharing,
    ) -> Result<BoundSocket, BindError> {
        if in_the_way.is_empty() {
            return Err(BindError::InUse);
        }
        in_the_way.iter().for_each(|listener| listener.share_port(true));
        sharing.0.extend(in_the_way);
        BoundSocket::bind(&one.listen.address, true, &self.remover)
    }

    /// Makes the staged listeners the running ones. Unchanged ones and their connections stay; the
    /// connections of those that stop end after the request they are at. No file is read.
    ///
    /// # Errors
    ///
    /// A port that was shared and is in use now all the same, or a unix socket that cannot be given to whom
    /// it should let in. Then everything runs as before. Or the daemon has stopped meanwhile, and nothing
    /// runs ([`Listeners::have_stopped`]).
    pub(crate) fn swap(&self, staged: StagedListeners) -> Result<ListenerChanges, Vec<Mistake>> {
        let StagedListeners { wanted, changes, listening: mut new, bound, sharing: _sharing } =
            staged;
        let connections = &self.connections;
        let _runtime = connections.handle().enter();
        for (one, bound) in bound {
            let socket = bound.listen().map_err(|error| vec![mistake(&one.listen, &error)])?;
            new.push(Listener::new(&one, socket));
        }
        let is_replaced =
            |listener: &Listener| new.iter().any(|new| new.address == listener.address);
        give(&self.running(), &wanted, is_replaced)?;
        // From here on no file is touched, and nothing hangs.
        let mut running = lock(&self.running);
        if running.has_stopped {
            return Err(vec![unplaced("the daemon is stopping".to_owned())]);
        }
        connections.set_limits(&wanted.server);
        running.listeners.retain(|listener| {
            let Some(one) = wanted.of(&listener.address) else {
                listener.close(connections);
                return false;
            };
            listener.serve(one);
            let is_replaced = is_replaced(listener);
            if is_replaced {
                listener.stop(connections);
            }
            !is_replaced
        });
        // What a new one shared its port with has stopped.
        new.iter().for_each(|listener| listener.share_port(false));
        running.listeners.extend(new.iter().cloned());
        drop(running);
        if connections.is_answered() {
            new.iter().for_each(|listener| listener.start(connections));
        }
        let before = connections.counters.replace_web_configs(wanted.web_configs.clone());
        for config in &wanted.web_configs {
            let earlier = before.iter().find(|earlier| earlier.path() == config.path());
            config.tell_notes(earlier.map(|earlier| &**earlier));
        }
        let of = |listener: &Arc<Listener>| Some((listener.address.clone(), listener.place()?));
        connections.counters.replace_bound(self.running().iter().filter_map(of).collect());
        self.remover.wait_for_all(REMOVAL);
        Ok(changes)
    }

    /// Starts to answer, on what is bound now and on what a swap will bring. To be called once.
    pub(crate) fn open<A: Answer>(&self, answer: Arc<A>) {
        self.connections.set_answer(answer);
        for listener in self.running() {
            listener.start(&self.connections);
        }
    }

    fn running(&self) -> Vec<Arc<Listener>> {
        lock(&self.running).listeners.clone()
    }

    /// Whether they have stopped, and no swap brings others any more.
    pub(crate) fn have_stopped(&self) -> bool {
        lock(&self.running).has_stopped
    }

    /// Where the listeners are bound in truth: for port 0 the port that the kernel chose. Unix
    /// sockets are left out.
    pub(crate) fn bound(&self) -> Vec<SocketAddr> {
        self.running().iter().filter_map(|listener| listener.bound()).collect()
    }

    /// Stops listening, lets the requests under way end and cuts what is left at the deadline. Answers
    /// how many connections had to be cut.
    pub(crate) async fn stop(&self, deadline: Instant) -> usize {
        let running = {
            let mut running = lock(&self.running);
            running.has_stopped = true;
            std::mem::take(&mut running.listeners)
        };
        for listener in &running {
            listener.close(&self.connections);
        }
        drop(running);
        let cut = self.connections.end_by(deadline).await;
        let removed = self.remover.all_removed();
        let _ = tokio::time::timeout_at(deadline.into(), removed).await;
        cut
    }

    /// Leaves no socket's file behind, whatever has the socket, and lets none be bound any more. Waits until this is so,
    /// but not longer than `within`. For the end of the process, however it comes about.
    pub(crate) fn leave_no_file(&self, within: Duration) {
        self.remover.end(within);
    }

    /// How many accepted connections wait for room.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> u64 {
        self.connections.waiting()
    }

    /// How many connections shake hands.
    #[cfg(test)]
    pub(super) fn shaking(&self) -> u64 {
        self.connections.shaking()
    }

    /// Reads and stages.
    #[cfg(test)]
    pub(in crate::http) fn prepare(
        &self,
        server: &Server,
    ) -> Result<StagedListeners, Vec<Mistake>> {
        self.stage(self.read(server)?)
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
    pub(in crate::http) fn set_turn(&self, turn: Duration) {
        self.connections.limits.set_turn(turn);
    }

    #[cfg(test)]
    pub(in crate::http) fn set_timeouts(&self, head: Duration, stall: Duration) {
        self.connections.limits.set_timeouts(head, stall);
    }
}

/// Lets in at the unix sockets that stay whom the new configuration names, or at each whom the earlier one
/// names if one of them cannot be changed.
fn give(
    running: &[Arc<Listener>],
    wanted: &WantedListeners,
    is_replaced: impl Fn(&Listener) -> bool,
) -> Result<(), Vec<Mistake>> {
    let mut given = Vec::new();
    for listener in running.iter().filter(|listener| !is_replaced(listener)) {
        let Some(one) = wanted.of(&listener.address) else { continue };
        given.push((listener, listener.access()));
        if let Err(reason) = listener.give(&one.access) {
            // Reported is the mistake; these were possible before.
            for (listener, before) in given {
                let _ = listener.give(&before);
            }
            return Err(vec![mistake(&one.listen, &BindError::Access(reason))]);
        }
    }
    Ok(())
}

/// What a swap to these listeners does, if of the running ones only some can be kept.
fn changes(
    running: &[Arc<Listener>],
    wanted: &WantedListeners,
    is_kept: impl Fn(&Listener) -> bool,
) -> ListenerChanges {
    let mut changes = ListenerChanges::default();
    for one in &wanted.each {
        let address = one.listen.address.to_string();
        // Of systemd's sockets there may be several.
        let kept: Vec<&Arc<Listener>> = running
            .iter()
            .filter(|listener| listener.address == one.listen.address && is_kept(listener))
            .collect();
        let mut what = Vec::new();
        for difference in kept.iter().flat_map(|listener| listener.differences(one)) {
            if !what.contains(&difference) {
                what.push(difference);
            }
        }
        if kept.is_empty() {
            changes.started.push(address);
        } else if what.is_empty() {
            changes.unchanged.push(address);
        } else {
            changes.changed.push(ListenerChange { address, what });
        }
    }
    let stopped = running.iter().filter(|listener| wanted.of(&listener.address).is_none());
    changes.stopped.extend(stopped.map(|listener| listener.address.to_string()));
    changes
}

/// Running listeners that stop and have the port of a new one.
fn in_the_way(
    running: &[Arc<Listener>],
    wanted: &WantedListeners,
    new: &Wanted,
) -> Vec<Arc<Listener>> {
    let has_port = |listener: &Listener| match (&listener.address, &new.listen.address) {
        (Address::Tcp { socket: old, .. }, Address::Tcp { socket: new, .. }) => {
            old.port() == new.port()
        }
        _ => false,
    };
    let stops = |listener: &Listener| wanted.of(&listener.address).is_none();
    running.iter().filter(|listener| has_port(listener) && stops(listener)).cloned().collect()
}

/// The mistakes in the order of the configuration.
fn mistakes(wanted: &WantedListeners, mut refused: Vec<(&Wanted, BindError)>) -> Vec<Mistake> {
    let place = |refused: &Wanted| wanted.each.iter().position(|one| std::ptr::eq(&**one, refused));
    refused.sort_by_key(|(refused, _)| place(refused));
    refused.iter().map(|(refused, error)| mistake(&refused.listen, error)).collect()
}

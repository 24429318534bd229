//! The listeners that a configuration asks for, with all that has to be read for them: what follows reads no file.

use super::access::Access;
use super::socket::BindError;
use crate::plan::{Address, Listen, Server};
use crate::web_config::{self, Protection, WebConfig};
use std::sync::Arc;
use vitald_core::settings::{Mistake, Origin};

/// What a configuration asks for.
pub(crate) struct WantedListeners {
    pub(super) server: Server,
    pub(super) each: Vec<Arc<Wanted>>,
    pub(super) web_configs: Vec<Arc<WebConfig>>,
}

/// One of them.
pub(super) struct Wanted {
    pub(super) listen: Listen,
    /// Who may connect, if it is a unix socket.
    pub(super) access: Access,
    web_config: Option<Arc<WebConfig>>,
}

impl WantedListeners {
    /// Reads what is named: web configurations, beside those in force, and the numbers of users and groups. It may hang,
    /// as files may.
    ///
    /// # Errors
    ///
    /// Every mistake.
    pub(crate) fn read(server: &Server, in_force: &[Arc<WebConfig>]) -> Result<Self, Vec<Mistake>> {
        let (web_configs, mut mistakes) = match web_config::read_all(server, in_force) {
            Ok(web_configs) => (web_configs, Vec::new()),
            Err(mistakes) => (Vec::new(), mistakes),
        };
        let mut each = Vec::new();
        for listen in &server.listen {
            let has_path = |config: &&Arc<WebConfig>| {
                listen.serve.web_config.as_deref() == Some(config.path())
            };
            let web_config = web_configs.iter().find(has_path).cloned();
            match Access::of(&listen.serve.access) {
                Ok(access) => {
                    each.push(Arc::new(Wanted { listen: listen.clone(), access, web_config }));
                }
                Err(reason) => mistakes.push(mistake(listen, &BindError::Access(reason))),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(WantedListeners { server: server.clone(), each, web_configs })
    }

    /// What the web configuration of a listener of these does for it.
    pub(crate) fn protection(&self, listen: &Listen) -> Protection {
        let web_config = self.of(&listen.address).and_then(|one| one.web_config.as_ref());
        web_config.map_or_else(Protection::default, |config| config.protection())
    }

    /// What in the web configurations may not be as it was meant, a sentence each.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        self.web_configs.iter().flat_map(|config| config.notes())
    }

    /// That of an address.
    pub(super) fn of(&self, address: &Address) -> Option<&Arc<Wanted>> {
        self.each.iter().find(|one| one.listen.address == *address)
    }
}

impl Wanted {
    /// The web configuration of a socket. Systemd hands over unix sockets and others under one address.
    pub(super) fn web_config_of(&self, is_unix: bool) -> Option<&Arc<WebConfig>> {
        let is_spared = is_unix && self.listen.serve.web_config_is_common;
        self.web_config.as_ref().filter(|_| !is_spared)
    }

    /// One that names no file.
    #[cfg(test)]
    pub(super) fn without_files(listen: &Listen) -> Self {
        Wanted { listen: listen.clone(), access: Access::default(), web_config: None }
    }
}

/// The mistake that a listener cannot be had.
pub(super) fn mistake(listen: &Listen, error: &BindError) -> Mistake {
    unplaced(format!("cannot listen on {}: {error}", listen.address))
}

pub(super) fn unplaced(message: String) -> Mistake {
    Mistake { origin: Origin::Default, path: "server.listen".to_owned(), message }
}

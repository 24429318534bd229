//! Units of systemd and the state of the system, from the bus (org.freedesktop.systemd1(5)).

use std::time::Instant;
use vitald_core::prelude::*;

mod connection;
mod manager;
mod units;

use connection::Connection;
use manager::Manager;
use units::{Detail, STATES, Shown, Unit, Units};

families! {
    /// The version of systemd as a number; the label has all of its text.
    VERSION: gauge = "node_systemd_version" [version];
    /// What virtualizes this host, as systemd has found out, or `none`; always 1.
    VIRTUALIZATION: gauge = "node_systemd_virtualization_info" [virtualization_type];
    /// Whether the system has started and nothing has failed.
    RUNNING: gauge = "node_systemd_system_running";
    /// How many units are in a state, whether they are shown one by one or not.
    UNITS: gauge = "node_systemd_units" [state];
    /// Whether a unit is in the state of the label.
    UNIT_STATE: gauge = "node_systemd_unit_state" [name, state, type];
    /// When an active unit became active, in seconds since the epoch; 0 for the others.
    START_TIME: gauge = "node_systemd_unit_start_time_seconds" [name];
    /// Processes and threads of a service.
    TASKS_CURRENT: gauge = "node_systemd_unit_tasks_current" [name];
    /// How many processes and threads a service may have.
    TASKS_MAX: gauge = "node_systemd_unit_tasks_max" [name];
    /// How often systemd has restarted a service by itself.
    RESTARTS: counter = "node_systemd_service_restart_total" [name];
    /// When a timer elapsed last, in seconds since the epoch; 0 before that.
    LAST_TRIGGER: gauge = "node_systemd_timer_last_trigger_seconds" [name];
    /// Connections that a socket unit accepted.
    ACCEPTED: counter = "node_systemd_socket_accepted_connections_total" [name];
    /// Connections of a socket unit that are open.
    CONNECTIONS: gauge = "node_systemd_socket_current_connections" [name];
    /// Connections that a socket unit refused.
    REFUSED: gauge = "node_systemd_socket_refused_connections_total" [name] legacy;
}

settings! {
    units: Filter {
        /// Units to show one by one, by their whole name.
        include unit_include = ".+", old unit_whitelist;
        /// Units not to show one by one, by their whole name.
        exclude unit_exclude = r".+\.(automount|device|mount|scope|slice)", old unit_blacklist;
    };
    /// Show how many processes and threads each service has and may have.
    enable_task_metrics: bool = false;
    /// Show how often each service was restarted.
    enable_restarts_metrics: bool = false;
    /// Show when each unit became active.
    enable_start_time_metrics: bool = false;
    /// Ask systemd at its own socket, which only root may, and not over the bus.
    private: bool = false;
}

/// How long systemd may take when the run has no limit. While it loads its units anew it does not
/// answer.
const LONGEST: Duration = Duration::from_secs(30);

register_collector!(Systemd);

struct Systemd {
    connection: Connection,
    manager: Manager,
    units: Units,
}

impl Collector for Systemd {
    about! {
        name: "systemd",
        summary: "States of systemd's units, and of the system",
        families: FAMILIES,
        sources: ["bus org.freedesktop.systemd1"],
        settings: Settings,
    }
    const CHARTS: &'static [Chart] =
        &[Chart::of("Units", &[Curve::each("state", value("node_systemd_units"))])];
    const ENABLED: bool = false;
    const MAY_BLOCK: bool = true;

    fn check(settings: &Settings) -> Result<()> {
        whole(settings).map(drop)
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let shown = Shown {
            filter: whole(&settings)?,
            tasks: settings.enable_task_metrics,
            restarts: settings.enable_restarts_metrics,
            start_time: settings.enable_start_time_metrics,
        };
        Ok(Systemd {
            connection: Connection::new(host, settings.private),
            manager: Manager::default(),
            units: Units::new(shown),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let deadline = batch.deadline(LONGEST);
        let outcome = self.collect_until(deadline, batch);
        self.connection.rest();
        outcome
    }
}

impl Systemd {
    fn collect_until(&mut self, deadline: Instant, batch: &mut Batch) -> Result<()> {
        let Systemd { connection, manager, units } = self;
        let mut service = connection.open(deadline)?;
        if manager.ask(&mut service).is_err() {
            // The bus may have gone since the last collection.
            service = connection.open(deadline)?;
            manager.ask(&mut service)?;
        }
        batch.row(&VERSION, [manager.version()], manager.version_number());
        batch.row(&VIRTUALIZATION, [manager.virtualization()], 1);
        units.list(&mut service, manager.serial())?;
        for (state, count) in units.counts() {
            batch.row(&UNITS, [state], count);
        }
        let asked = units.ask(&mut service, manager.knows_states());
        units.each(asked.is_ok(), |name, unit, values| push(batch, name, unit, values));
        if let Some(malformed) = service.malformed() {
            batch.fault("bus properties", malformed);
        }
        asked?;
        if manager.knows_states() {
            batch.value(&RUNNING, manager.is_running()?);
        }
        Ok(())
    }
}

/// Shows a unit, whose details are by number.
fn push(batch: &mut Batch, name: &[u8], unit: &Unit, details: &[Option<f64>; Detail::COUNT]) {
    for state in STATES {
        let labels = [name, state, unit.type_name()];
        batch.row(&UNIT_STATE, labels, unit.state() == Some(state));
    }
    let value = |detail: Detail| details[detail as usize];
    for (family, value) in [
        (&START_TIME, value(Detail::StartTime).map(|microseconds| microseconds / 1e6)),
        (&TASKS_CURRENT, value(Detail::TasksCurrent)),
        (&TASKS_MAX, value(Detail::TasksMax)),
        (&RESTARTS, value(Detail::Restarts)),
        (&LAST_TRIGGER, value(Detail::LastTrigger).map(|microseconds| microseconds / 1e6)),
    ] {
        if let Some(value) = value {
            batch.row(family, [name], value);
        }
    }
    // Each of a socket's is there only with those before it.
    for (family, detail) in [
        (&ACCEPTED, Detail::Accepted),
        (&CONNECTIONS, Detail::Connections),
        (&REFUSED, Detail::Refused),
    ] {
        let Some(value) = value(detail) else { break };
        batch.row(family, [name], value);
    }
}

/// The filter of unit names.
fn whole(settings: &Settings) -> Result<Filter> {
    let wrong = |message: String| Error::Setting { key: "unit_include", message: message.into() };
    settings.units.whole().map_err(wrong)
}

#[cfg(test)]
mod tests;

//! systemd's units: the list of all, and details of those that are shown one by one.

use super::connection::Service;
use super::manager::Serial;
use vitald_core::host::BusReader;
use vitald_core::prelude::*;

/// The states that every unit is shown with. Others, such as `reloading`, are only counted.
pub(super) const STATES: [&[u8]; 5] =
    [b"active", b"activating", b"deactivating", b"inactive", b"failed"];

const ACTIVE: usize = 0;

const SERVICE: &str = "org.freedesktop.systemd1.Service";
const SOCKET: &str = "org.freedesktop.systemd1.Socket";

/// What is shown of units.
pub(super) struct Shown {
    pub(super) filter: Filter,
    pub(super) tasks: bool,
    pub(super) restarts: bool,
    pub(super) start_time: bool,
}

/// What is asked of a unit by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    ServiceType,
    MountType,
    StartTime,
    TasksCurrent,
    TasksMax,
    Restarts,
    LastTrigger,
    Accepted,
    Connections,
    Refused,
}

const DETAILS: [(Detail, [&str; 2]); Detail::COUNT] = [
    (Detail::ServiceType, [SERVICE, "Type"]),
    (Detail::MountType, ["org.freedesktop.systemd1.Mount", "Type"]),
    (Detail::StartTime, ["org.freedesktop.systemd1.Unit", "ActiveEnterTimestamp"]),
    (Detail::TasksCurrent, [SERVICE, "TasksCurrent"]),
    (Detail::TasksMax, [SERVICE, "TasksMax"]),
    (Detail::Restarts, [SERVICE, "NRestarts"]),
    (Detail::LastTrigger, ["org.freedesktop.systemd1.Timer", "LastTriggerUSec"]),
    (Detail::Accepted, [SOCKET, "NAccepted"]),
    (Detail::Connections, [SOCKET, "NConnections"]),
    (Detail::Refused, [SOCKET, "NRefused"]),
];

/// What was answered to a question.
#[derive(Clone, Copy, Default)]
enum Answer {
    #[default]
    None,
    Number(f64),
    /// From and to where in the texts.
    Text(usize, usize),
}

/// A unit that is shown.
pub(super) struct Unit {
    path: Box<str>,
    kind: UnitKind,
    is_loaded: bool,
    /// The number of its state among [`STATES`].
    state: Option<usize>,
    /// That of a service, or the file system of a mount.
    type_name: Vec<u8>,
    is_type_known: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UnitKind {
    Service,
    Mount,
    Socket,
    Timer,
    Other,
}

pub(super) struct Units {
    shown: Shown,
    /// All of the list; nothing of those that the filter leaves out.
    all: Rows<Option<Box<Unit>>>,
    counts: [u64; STATES.len()],
    other_counts: Counts,
    /// Of when the types of services are.
    serial: Option<Serial>,
    /// The questions of this run: the number of the row, and what is asked of it.
    asked: Vec<(usize, Detail)>,
    /// One for each question.
    answers: Vec<Answer>,
    texts: Vec<u8>,
}

impl Detail {
    pub(super) const COUNT: usize = 10;

    fn read(self, value: &mut BusReader<'_>, texts: &mut Vec<u8>) -> Result<Answer, Malformed> {
        Ok(match self {
            Detail::ServiceType | Detail::MountType => {
                let start = texts.len();
                texts.extend_from_slice(value.text()?);
                Answer::Text(start, texts.len())
            }
            Detail::TasksCurrent | Detail::TasksMax => match value.number_64()? {
                // Not counted, or without a limit.
                u64::MAX => Answer::None,
                number => Answer::Number(number as f64),
            },
            Detail::StartTime | Detail::LastTrigger => Answer::Number(value.number_64()? as f64),
            Detail::Restarts | Detail::Accepted | Detail::Connections | Detail::Refused => {
                Answer::Number(value.number_32()?.into())
            }
        })
    }
}

impl Unit {
    fn new(name: &[u8], path: &str) -> Self {
        let ends = |end: &[u8]| name.ends_with(end);
        let kind = match () {
            () if ends(b".service") => UnitKind::Service,
            () if ends(b".mount") => UnitKind::Mount,
            () if ends(b".socket") => UnitKind::Socket,
            () if ends(b".timer") => UnitKind::Timer,
            () => UnitKind::Other,
        };
        Unit {
            path: path.into(),
            kind,
            is_loaded: false,
            state: None,
            type_name: Vec::new(),
            is_type_known: false,
        }
    }

    /// The type of a service, the file system of a mount, and nothing for others.
    pub(super) fn type_name(&self) -> &[u8] {
        &self.type_name
    }

    /// One of [`STATES`], if it is in one of them.
    pub(super) fn state(&self) -> Option<&'static [u8]> {
        self.state.map(|state| STATES[state])
    }

    fn wants(&self, detail: Detail, shown: &Shown, with_triggers: bool) -> bool {
        let is = |kind| self.kind == kind;
        self.is_loaded
            && match detail {
                Detail::ServiceType => is(UnitKind::Service) && !self.is_type_known,
                // What is mounted may be another one without a word of systemd.
                Detail::MountType => is(UnitKind::Mount),
                Detail::StartTime => shown.start_time && self.state == Some(ACTIVE),
                Detail::TasksCurrent | Detail::TasksMax => shown.tasks && is(UnitKind::Service),
                Detail::Restarts => shown.restarts && is(UnitKind::Service),
                Detail::LastTrigger => with_triggers && is(UnitKind::Timer),
                Detail::Accepted | Detail::Connections | Detail::Refused => is(UnitKind::Socket),
            }
    }
}

impl Units {
    pub(super) fn new(shown: Shown) -> Self {
        Units {
            shown,
            all: Rows::new(),
            counts: [0; STATES.len()],
            other_counts: Counts::new(),
            serial: None,
            asked: Vec::new(),
            answers: Vec::new(),
            texts: Vec::new(),
        }
    }

    /// Lists all units. The types of services are kept while the serial numbers are those of the last
    /// time: they come from unit files, which systemd reads when it loads all units anew, or for a
    /// job. `serial` was asked for before.
    pub(super) fn list(&mut self, service: &mut Service<'_>, serial: Option<Serial>) -> Result<()> {
        let Units { shown, all, counts, other_counts, .. } = self;
        let keeps_types = serial.is_some() && serial == self.serial;
        // What is asked from here on is not older than the serial numbers.
        self.serial = None;
        *counts = [0; STATES.len()];
        other_counts.begin();
        let mut rows = all.begin();
        service.call("ListUnits", |reply| {
            parse_list(reply, &mut |listed| {
                let state = STATES.iter().position(|state| *state == listed.active_state);
                match state {
                    Some(state) => counts[state] += 1,
                    None => other_counts.add(listed.active_state),
                }
                let unit = rows.row(listed.name, || {
                    let is_shown = shown.filter.takes(listed.name);
                    is_shown.then(|| Box::new(Unit::new(listed.name, listed.path)))
                });
                if let Some(unit) = unit {
                    unit.state = state;
                    unit.is_loaded = listed.load_state == b"loaded";
                    unit.is_type_known &= keeps_types;
                }
            })
        })?;
        rows.finish();
        self.serial = serial;
        Ok(())
    }

    /// How many units are in each state.
    pub(super) fn counts(&mut self) -> impl Iterator<Item = (&[u8], u64)> {
        STATES.into_iter().zip(self.counts).chain(self.other_counts.finish())
    }

    /// Asks for the details of all units that are shown.
    pub(super) fn ask(&mut self, service: &mut Service<'_>, with_triggers: bool) -> Result<()> {
        let Units { shown, all, asked, answers, texts, .. } = self;
        asked.clear();
        for (place, (_, unit)) in all.iter().enumerate() {
            let Some(unit) = unit else { continue };
            let details = DETAILS.iter().map(|(detail, _)| *detail);
            let wanted = details.filter(|detail| unit.wants(*detail, shown, with_triggers));
            asked.extend(wanted.map(|detail| (place, detail)));
        }
        texts.clear();
        answers.clear();
        answers.resize(asked.len(), Answer::None);
        let mut units = all.iter().enumerate().peekable();
        let properties = asked.iter().map(|(place, detail)| {
            while units.next_if(|(at, _)| at < place).is_some() {}
            let unit = units.peek().and_then(|(_, (_, unit))| unit.as_deref());
            (unit.map_or("", |unit| &unit.path), &DETAILS[*detail as usize].1)
        });
        service.properties(properties, |place, value| {
            answers[place] = asked[place].1.read(value, texts)?;
            Ok(())
        })
    }

    /// Gives each unit that is shown with its name and the numbers that were asked for. Where not all
    /// was answered, units whose type is not known are left out.
    pub(super) fn each(
        &mut self,
        is_complete: bool,
        mut each: impl FnMut(&[u8], &Unit, &[Option<f64>; Detail::COUNT]),
    ) {
        let Units { all, asked, answers, texts, .. } = self;
        let mut answered = asked.iter().zip(answers.iter()).peekable();
        for (place, (name, unit)) in all.iter_mut().enumerate() {
            let Some(unit) = unit else { continue };
            let mut numbers = [None; Detail::COUNT];
            if unit.state != Some(ACTIVE) && self.shown.start_time {
                numbers[Detail::StartTime as usize] = Some(0.0);
            }
            while let Some(((_, detail), answer)) = answered.next_if(|((at, _), _)| *at == place) {
                if matches!(detail, Detail::ServiceType | Detail::MountType) {
                    unit.type_name.clear();
                    unit.is_type_known = matches!(answer, Answer::Text(..));
                }
                match *answer {
                    Answer::None => {}
                    Answer::Number(number) => numbers[*detail as usize] = Some(number),
                    Answer::Text(start, end) => {
                        unit.type_name.extend_from_slice(&texts[start..end])
                    }
                }
            }
            let has_type = matches!(unit.kind, UnitKind::Service | UnitKind::Mount);
            if unit.is_loaded && (is_complete || unit.is_type_known || !has_type) {
                each(name, unit, &numbers);
            }
        }
    }
}

/// A unit of the list.
struct Listed<'m> {
    name: &'m [u8],
    load_state: &'m [u8],
    active_state: &'m [u8],
    path: &'m str,
}

/// Reads what `ListUnits` returns: of each unit its name, description, load state, active state, sub
/// state, the unit that it follows, its path, and the job that waits for it.
fn parse_list(
    reply: &mut BusReader<'_>,
    each: &mut dyn FnMut(Listed<'_>),
) -> Result<(), Malformed> {
    reply.array(&mut |unit| {
        unit.fields(&mut |unit| {
            let name = unit.text()?;
            unit.skip()?;
            let (load_state, active_state) = (unit.text()?, unit.text()?);
            unit.skip()?;
            unit.skip()?;
            let path = unit.object_path()?;
            each(Listed { name, load_state, active_state, path });
            Ok(())
        })
    })
}

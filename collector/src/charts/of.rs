//! Which charts a collector has.

use crate::sync::lock;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use vitald_core::chart::{Chart, derived};
use vitald_core::collector::Descriptor;

/// Those that were made, which stay in memory, by collector and by its families.
type Made = HashMap<(&'static str, usize), &'static [Chart]>;

static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);

/// The charts that a collector declares; of one that declares none, those that its families make.
pub(crate) fn of(descriptor: &Descriptor) -> &'static [Chart] {
    if !descriptor.charts.is_empty() {
        return descriptor.charts;
    }
    let families = descriptor.families;
    let make = || derived(descriptor.name, families);
    lock(&MADE).entry((descriptor.name, families.as_ptr().addr())).or_insert_with(make)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::chart::{Curve, value};
    use vitald_core::families;
    use vitald_core::testing::descriptor;

    families! {
        /// Load.
        LOAD: gauge = "t_load";
    }

    const CHARTS: &[Chart] = &[Chart::of("Load", &[Curve::of("now", value("t_load"))])];
    static CHARTED: Descriptor = Descriptor { charts: CHARTS, ..descriptor("t", FAMILIES, false) };
    static PLAIN: Descriptor = descriptor("t", FAMILIES, false);

    #[test]
    fn charts_that_are_made_are_made_once() {
        assert!(std::ptr::eq(of(&PLAIN), of(&PLAIN)) && !of(&PLAIN).is_empty());
        assert!(std::ptr::eq(of(&CHARTED), CHARTS));
    }
}

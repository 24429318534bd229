//! State of collectors that outlives them.

use std::any::{Any, TypeId};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Roots;

/// One value of each type that was asked for.
#[derive(Default)]
pub(super) struct Lasting(Mutex<Vec<(TypeId, Arc<dyn Any + Send + Sync>)>>);

impl Lasting {
    /// That of the real host with these roots. It lasts as long as the process, because a reload
    /// makes another [`super::Host`] for the same host.
    pub(super) fn of_process(roots: &Roots) -> Arc<Lasting> {
        static HOSTS: OnceLock<Mutex<Vec<(Roots, Arc<Lasting>)>>> = OnceLock::new();
        let hosts = HOSTS.get_or_init(Mutex::default);
        let mut hosts = hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = hosts.iter().find(|(of, _)| of == roots) {
            return Arc::clone(known);
        }
        let new = Arc::default();
        hosts.push((roots.clone(), Arc::clone(&new)));
        new
    }

    pub(super) fn get<T: Default + Send + 'static>(&self) -> Arc<Mutex<T>> {
        let wanted = TypeId::of::<T>();
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = values.iter().find(|(of, _)| *of == wanted).map(|(_, value)| Arc::clone(value));
        if let Some(Ok(known)) = known.map(Arc::downcast::<Mutex<T>>) {
            return known;
        }
        let new = Arc::<Mutex<T>>::default();
        values.push((wanted, new.clone()));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lasts_by_type_and_roots() {
        let roots = Roots { procfs: "/lasting/a".into(), ..Roots::default() };
        let others = Roots { procfs: "/lasting/b".into(), ..Roots::default() };
        *Lasting::of_process(&roots).get::<u32>().lock().unwrap() = 7;
        assert_eq!(*Lasting::of_process(&roots).get::<u32>().lock().unwrap(), 7);
        assert_eq!(*Lasting::of_process(&roots).get::<u64>().lock().unwrap(), 0);
        assert_eq!(*Lasting::of_process(&others).get::<u32>().lock().unwrap(), 0);
    }
}

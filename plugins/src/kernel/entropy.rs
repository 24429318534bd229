//! What the kernel's random number generator has gathered, from `/proc/sys/kernel/random` (random(4)).

use vitald_core::prelude::*;

families! {
    /// Entropy that the random number generator has, in bits; always 256 once it is ready, since Linux 5.18.
    AVAILABLE: gauge = "node_entropy_available_bits";
    /// The most entropy that the random number generator keeps, in bits.
    POOL_SIZE: gauge = "node_entropy_pool_size_bits";
}

register_collector!(Entropy);

struct Entropy {
    available: KeptFile,
    pool_size: KeptFile,
}

impl Collector for Entropy {
    about! {
        name: "entropy",
        summary: "Entropy of the kernel's random number generator",
        families: FAMILIES,
        sources: ["proc/sys/kernel/random/entropy_avail", "proc/sys/kernel/random/poolsize"],
    }

    fn open((): (), host: &Host) -> Result<Self> {
        Ok(Entropy {
            available: host.keep_whole("proc/sys/kernel/random/entropy_avail"),
            pool_size: host.keep_whole("proc/sys/kernel/random/poolsize"),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        let available = self.available.parse(text::single_u64)?;
        batch.value(&AVAILABLE, available);
        let pool_size = self.pool_size.parse(text::single_u64)?;
        batch.value(&POOL_SIZE, pool_size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitald_core::testing::*;

    const AVAILABLE: &str = "proc/sys/kernel/random/entropy_avail";
    const POOL_SIZE: &str = "proc/sys/kernel/random/poolsize";

    #[test]
    fn golden() {
        check::<Entropy>(
            &MemoryHost::from_files(&[(AVAILABLE, "256\n"), (POOL_SIZE, "256\n")]).host(),
            &[],
            &expect![[r#"
                # node_entropy_available_bits gauge
                node_entropy_available_bits 256
                # node_entropy_pool_size_bits gauge
                node_entropy_pool_size_bits 256
            "#]],
        );
    }

    #[test]
    fn what_is_there_is_shown_before_the_error() {
        check_fails::<Entropy>(
            &MemoryHost::from_files(&[(AVAILABLE, "3802\n")]).host(),
            &[],
            &expect!["proc/sys/kernel/random/poolsize: not on this host"],
            &expect![[r#"
                # node_entropy_available_bits gauge
                node_entropy_available_bits 3802
            "#]],
        );
    }

    #[test]
    fn absent_is_an_error() {
        check_fails::<Entropy>(
            &MemoryHost::new().host(),
            &[],
            &expect!["proc/sys/kernel/random/entropy_avail: not on this host"],
            &expect![""],
        );
    }

    #[test]
    fn refuses_bad_text() {
        check_fails::<Entropy>(
            &MemoryHost::from_files(&[(AVAILABLE, "many\n"), (POOL_SIZE, "256\n")]).host(),
            &[],
            &expect!["proc/sys/kernel/random/entropy_avail: byte 0: expected a number"],
            &expect![""],
        );
    }
}

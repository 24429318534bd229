//! What the readers of each document have that the document does not give them, and what they then see.

/// A document whose blocks are run one after the other on a machine of its own.
pub struct Walk {
    pub document: &'static str,
    /// What the reader has done before.
    pub first: &'static str,
    pub steps: &'static [Step],
}

/// What is run beside a block, in the same shell.
pub struct Step {
    /// How the block's text begins.
    pub begins: &'static str,
    pub before: &'static str,
    pub after: &'static str,
}

/// The service, as README.md has it installed.
const SERVICE: &str = "
    install -m 755 /opt/vitald /usr/bin/vitald && rm -f /usr/local/bin/vitald
    install -m 644 deploy/vitald.sysusers /usr/lib/sysusers.d/vitald.conf && systemd-sysusers
    install -D -m 640 -g vitald deploy/service.toml /etc/vitald/config.toml
    install -m 644 deploy/vitald.service /etc/systemd/system/";

pub const WALKS: &[Walk] = &[
    Walk {
        document: "README.md",
        first: "",
        steps: &[
            Step {
                begins: "cp examples/first.toml",
                before: "if type -P vitald; then exit 1; fi",
                after: "
                    has_shown CPU
                    if grep --text Disks /tmp/screen; then exit 1; fi",
            },
            Step { begins: "echo 'diskstats", before: "", after: "has_shown Disks" },
            Step {
                begins: "curl http://localhost:9100/metrics",
                before: "",
                after: "
                    curl http://localhost:9100/ | grep '<title>'
                    curl http://localhost:9100/metrics >/tmp/page
                    grep --quiet '^node_cpu_' /tmp/page && grep --quiet '^node_disk_' /tmp/page
                    end_daemon by_key",
            },
            Step {
                begins: "[collectors.portable]",
                before: "",
                after: "cat \"$BLOCK\" >>config.toml",
            },
            Step {
                begins: "curl -X PUT",
                before: "",
                // Once by the command before, and once by the second of these; the first only asks.
                after: "has_logged 'configuration applied' 2",
            },
            Step {
                begins: "vitald compare",
                before: "
                    end_daemon
                    systemctl start prometheus-node-exporter
                    is_served
                    set +e",
                // Debian's is older, and differs.
                after: "[ $? = 1 ] && systemctl stop prometheus-node-exporter",
            },
            Step {
                begins: "cargo build --release --features full\ninstall",
                before: "",
                after: "is_served && systemctl reload vitald && vitald reload",
            },
        ],
    },
    Walk {
        document: "docs/security.md",
        first: SERVICE,
        steps: &[
            Step {
                begins: "[server]\nlisten = [\":9100\", \"unix:",
                before: "install -D /dev/null /etc/vitald/web.yml",
                after: "",
            },
            Step {
                begins: "[server]",
                before: "groupadd --force prometheus",
                after: "cp \"$BLOCK\" /tmp/listeners.toml",
            },
            Step {
                begins: "umask 077",
                before: "
                    printf '[server]\\nlisten = [{ address = \"127.0.0.1:9100\", token_file = \"%s\" }]\\n' \\
                        /etc/vitald/scrape-token >/etc/vitald/config.toml
                    restart_service",
                after: "
                    if curl http://127.0.0.1:9100/metrics; then exit 1; fi
                    curl http://127.0.0.1:9100/healthz
                    # The listeners and the lines of the unit that come before and after.
                    cp /tmp/listeners.toml /etc/vitald/config.toml
                    mkdir -p /etc/systemd/system/vitald.service.d
                    printf '[Service]\\nSupplementaryGroups=prometheus\\nLoadCredential=scrape-token:%s\\n' \\
                        /etc/vitald/scrape-token >/etc/systemd/system/vitald.service.d/listeners.conf
                    restart_service
                    [ \"$(stat --format '%a %G' /run/vitald/metrics.sock)\" = '660 prometheus' ]
                    curl -H \"Authorization: Bearer $(cat /etc/vitald/scrape-token)\" http://127.0.0.1:9100/metrics",
            },
            Step {
                begins: "# /etc/prometheus/prometheus.yml",
                before: "install -D -m 600 /etc/vitald/scrape-token /etc/prometheus/scrape-token",
                after: "",
            },
            Step {
                begins: "sudo -u vitald",
                // /proc/slabinfo is for root alone.
                before: "printf '[collectors.slabinfo]\\nenabled = true\\n' >>/etc/vitald/config.toml",
                after: "
                    sudo -u vitald vitald plugins --config /etc/vitald/config.toml | tail --lines 3 |
                        grep '^AmbientCapabilities='",
            },
            Step {
                begins: "# /etc/systemd/system/vitald.service.d",
                before: "",
                after: "
                    restart_service
                    # CAP_DAC_READ_SEARCH and CAP_PERFMON, by their numbers (capability.h).
                    grep --quiet 'CapEff:.*4000000004$' /proc/$(pidof vitald)/status",
            },
        ],
    },
    Walk {
        document: "docs/migration.md",
        first: SERVICE,
        steps: &[
            Step {
                begins: "mv --no-clobber",
                before: "
                    cp /usr/bin/prometheus-node-exporter /usr/local/bin/node_exporter
                    printf '[Service]\\nExecStart=/usr/local/bin/node_exporter --collector.cgroups\\n' \\
                        >/etc/systemd/system/node_exporter.service
                    systemctl daemon-reload",
                after: "is_served && grep --quiet vitald_build_info /tmp/page",
            },
            Step {
                begins: "mv --force",
                before: "
                    # Once more they take nothing away.
                    mv --no-clobber /usr/local/bin/node_exporter /usr/local/bin/node_exporter.kept || true
                    if ln -s /usr/bin/vitald /usr/local/bin/node_exporter; then exit 1; fi
                    printf '[Service]\\nExecStart=/usr/local/bin/node_exporter\\n' \\
                        >/etc/systemd/system/node_exporter.service
                    systemctl daemon-reload",
                after: "is_served && grep --quiet go_goroutines /tmp/page && systemctl stop node_exporter",
            },
            Step {
                begins: "systemctl list-unit-files",
                before: "
                    printf '[Service]\\nExecStart=/usr/local/bin/node_exporter --collector.cgroups\\n' \\
                        >/etc/systemd/system/node_exporter.service
                    systemctl daemon-reload",
                after: "grep --quiet cgroups config.toml && vitald check config.toml",
            },
            Step {
                begins: "vitald migrate -- --collector.textfile",
                before: "",
                after: "grep --quiet textfile_collector config.toml && vitald check config.toml",
            },
            Step {
                begins: "vitald migrate -- \\",
                before: "rm config.toml",
                after: "grep --quiet 'collectors.systemd' config.toml && vitald check config.toml",
            },
            Step {
                begins: "vitald migrate",
                before: "printf 'ARGS=\"--collector.systemd\"\\n' >/etc/default/prometheus-node-exporter",
                after: "grep --quiet systemd config.toml",
            },
            Step {
                begins: "$ vitald migrate",
                before: "
                    printf '[Service]\\nUser=prometheus\\nExecStart=node_exporter --web.telemetry-path=/m\\n' \\
                        >/etc/systemd/system/node_exporter.service",
                after: "",
            },
        ],
    },
    Walk { document: "CONTRIBUTING.md", first: "", steps: &[] },
    Walk { document: "docs/collectors.md", first: "", steps: &[] },
];

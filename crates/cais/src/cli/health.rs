//! Flags that say how the health of a container is probed: `cais run`, `cais create`.

use super::flags::{flag_kind, flag_take, flag_type, flags};

flags! {
    /// `--health-…`.
    pub struct HealthArgs {
        /// Command for the shell inside that tells whether the container is well
        health_cmd: one "health-cmd" in "Health" as "COMMAND";
        /// Address that must answer with a status from 200 to 399, e.g. http://localhost:8080/health
        health_http: one "health-http" in "Health" as "URL";
        /// Port inside that must accept connections
        health_tcp: one "health-tcp" in "Health" as "PORT";
        /// Unix socket inside that must accept connections
        health_unix: one "health-unix" in "Health" as "PATH";
        /// Time between two checks [default: 30s]
        health_interval: exact "health-interval" in "Health" as "TIME";
        /// Time that one check may take [default: 30s]
        health_timeout: exact "health-timeout" in "Health" as "TIME";
        /// Failures in a row that make it unhealthy [default: 3]
        health_retries: number(u32) "health-retries" in "Health" as "N";
        /// Time after the start within which failures do not count
        health_start_period: exact "health-start-period" in "Health" as "TIME";
        /// Time between two checks within the start period [default: 5s]
        health_start_interval: exact "health-start-interval" in "Health" as "TIME";
        /// What follows when it is unhealthy: none, kill, restart or stop
        health_on_failure: one "health-on-failure" in "Health" as "ACTION";
        /// No checks, whatever the image says
        no_healthcheck: switch "no-healthcheck" in "Health";
    }
}

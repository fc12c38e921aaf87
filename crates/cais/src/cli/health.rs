//! Flags that say how the health of a container is probed: `cais run`, `cais create`.

use clap::{ArgAction, Args};

/// `--health-…`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Command for the shell inside that tells whether the container is well
    #[arg(
        long = "health-cmd",
        help_heading = "Health",
        value_name = "COMMAND",
        overrides_with = "health_cmd"
    )]
    pub health_cmd: Option<String>,
    /// Address that must answer with a status from 200 to 399, e.g. http://localhost:8080/health
    #[arg(
        long = "health-http",
        help_heading = "Health",
        value_name = "URL",
        overrides_with = "health_http"
    )]
    pub health_http: Option<String>,
    /// Port inside that must accept connections
    #[arg(
        long = "health-tcp",
        help_heading = "Health",
        value_name = "PORT",
        overrides_with = "health_tcp"
    )]
    pub health_tcp: Option<String>,
    /// Unix socket inside that must accept connections
    #[arg(
        long = "health-unix",
        help_heading = "Health",
        value_name = "PATH",
        overrides_with = "health_unix"
    )]
    pub health_unix: Option<String>,
    /// Time between two checks [default: 30s]
    #[arg(
        long = "health-interval",
        help_heading = "Health",
        value_name = "TIME",
        overrides_with = "health_interval"
    )]
    pub health_interval: Option<String>,
    /// Time that one check may take [default: 30s]
    #[arg(
        long = "health-timeout",
        help_heading = "Health",
        value_name = "TIME",
        overrides_with = "health_timeout"
    )]
    pub health_timeout: Option<String>,
    /// Failures in a row that make it unhealthy [default: 3]
    #[arg(
        long = "health-retries",
        help_heading = "Health",
        value_name = "N",
        overrides_with = "health_retries"
    )]
    pub health_retries: Option<u32>,
    /// Time after the start within which failures do not count
    #[arg(
        long = "health-start-period",
        help_heading = "Health",
        value_name = "TIME",
        overrides_with = "health_start_period"
    )]
    pub health_start_period: Option<String>,
    /// Time between two checks within the start period [default: 5s]
    #[arg(
        long = "health-start-interval",
        help_heading = "Health",
        value_name = "TIME",
        overrides_with = "health_start_interval"
    )]
    pub health_start_interval: Option<String>,
    /// What follows when it is unhealthy: none, kill, restart or stop
    #[arg(
        long = "health-on-failure",
        help_heading = "Health",
        value_name = "ACTION",
        overrides_with = "health_on_failure"
    )]
    pub health_on_failure: Option<String>,
    /// No checks, whatever the image says
    #[arg(long = "no-healthcheck", help_heading = "Health", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "no_healthcheck")]
    pub no_healthcheck: bool,
}

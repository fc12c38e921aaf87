//! How an image moves, shown: bars on a terminal, plain lines elsewhere, JSON for programs.

use crate::output::{human_size, print_error};
use cais_engine::images::{Step, Watch};
use cais_image::Descriptor;
use cais_json::json;
use rustix::fd::AsFd;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bars are drawn, and numbers told, at most so often.
const BETWEEN: Duration = Duration::from_millis(100);
/// The width of a bar in characters.
const BAR: usize = 30;

/// The ways to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Bars.
    Terminal,
    /// A line for each change.
    Plain,
    /// An object of JSON for each change, as Docker's API has them.
    Json,
    /// Nothing but warnings.
    Quiet,
}

/// Where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output: `pull`, `push`.
    Output,
    /// Standard error, where standard output is a container's: `run`.
    Error,
}

/// Shows what happens.
#[derive(Debug)]
pub(crate) struct Progress {
    style: Style,
    stream: Stream,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What moves now.
    rows: Vec<Row>,
    /// How many lines of bars stand on the terminal.
    drawn: usize,
    shown: Option<Instant>,
}

#[derive(Debug)]
struct Row {
    id: String,
    status: &'static str,
    done: u64,
    total: u64,
    since: Instant,
    /// Where this attempt began: what was there before tells nothing of the rate.
    first: u64,
    told: Option<Instant>,
}

impl Style {
    /// The style of `--progress`; `auto` takes bars where somebody sees them.
    pub(crate) fn choose(word: &str, quiet: bool, stream: Stream) -> Self {
        let sees = match stream {
            Stream::Output => rustix::termios::isatty(std::io::stdout()),
            Stream::Error => rustix::termios::isatty(std::io::stderr()),
        };
        match word {
            _ if quiet => Self::Quiet,
            "quiet" => Self::Quiet,
            "json" => Self::Json,
            "plain" => Self::Plain,
            "tty" => Self::Terminal,
            _ if sees => Self::Terminal,
            _ => Self::Plain,
        }
    }
}

/// Status in Docker's words, and whether it is the last one.
fn words(step: Step) -> (&'static str, bool) {
    match step {
        Step::Present => ("Already exists", true),
        Step::Fetching(_) => ("Downloading", false),
        Step::Fetched => ("Download complete", false),
        Step::Unpacked => ("Pull complete", true),
        Step::Copying(_) => ("Copying", false),
        Step::Copied => ("Copied", true),
        Step::Preparing => ("Preparing", false),
        Step::Pushing(_) => ("Pushing", false),
        Step::Known => ("Layer already exists", true),
        Step::Pushed => ("Pushed", true),
        Step::Mounted => ("Mounted", true),
    }
}

impl Progress {
    pub(crate) fn new(style: Style, stream: Stream) -> Self {
        Self {
            style,
            stream,
            state: Mutex::default(),
        }
    }

    fn write(&self, text: &str) {
        // Who does not read it does not want it; the work goes on.
        match self.stream {
            Stream::Output => {
                let mut output = std::io::stdout().lock();
                output
                    .write_all(text.as_bytes())
                    .and_then(|()| output.flush())
                    .unwrap_or_default();
            }
            Stream::Error => print_error(text),
        }
    }

    fn bars(&self, state: &mut State, blob: &Descriptor, step: Step) {
        let now = Instant::now();
        let (status, is_last) = words(step);
        let is_new = state.note(blob, step, now);
        let mut text = String::new();
        if is_last {
            let id = short(blob);
            state.rows.retain(|row| row.id != id);
            text = format!("{id}: {status}\n");
        }
        let is_due = state
            .shown
            .is_none_or(|shown| now.duration_since(shown) >= BETWEEN);
        if is_last || is_new || is_due {
            state.shown = Some(now);
            let (columns, lines) = self.size();
            self.write(&state.draw(&text, columns, lines, now));
        }
    }

    /// Columns and lines of the terminal.
    fn size(&self) -> (usize, usize) {
        let size = match self.stream {
            Stream::Output => rustix::termios::tcgetwinsize(std::io::stdout().as_fd()),
            Stream::Error => rustix::termios::tcgetwinsize(std::io::stderr().as_fd()),
        };
        match size {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (80, 24),
        }
    }

    /// An object for each change, and for numbers one now and then.
    fn object(&self, state: &mut State, blob: &Descriptor, step: Step) {
        let now = Instant::now();
        let is_new = state.note(blob, step, now);
        let id = short(blob);
        let (status, _) = words(step);
        let Some(row) = state.rows.iter_mut().find(|row| row.id == id) else {
            return;
        };
        let is_due = row.told.is_none_or(|told| now.duration_since(told) >= BETWEEN);
        let is_number = matches!(step, Step::Fetching(_) | Step::Pushing(_) | Step::Copying(_));
        let tells = is_new || (is_number && is_due);
        if !tells {
            return;
        }
        row.told = Some(now);
        let mut object = json!({"status": status, "progressDetail": {}, "id": id});
        if is_number {
            object["progressDetail"] = json!({"current": row.done, "total": row.total});
        }
        self.write(&format!("{object}\n"));
    }
}

impl Watch for Progress {
    fn blob(&self, blob: &Descriptor, step: Step) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.style {
            Style::Quiet => {}
            Style::Terminal => self.bars(&mut state, blob, step),
            Style::Json => self.object(&mut state, blob, step),
            Style::Plain => {
                if state.note(blob, step, Instant::now()) {
                    self.write(&format!("{}: {}\n", short(blob), words(step).0));
                }
            }
        }
    }

    fn line(&self, text: &str) {
        match self.style {
            Style::Quiet => {}
            Style::Json => self.write(&format!("{}\n", json!({"status": text}))),
            Style::Plain | Style::Terminal => self.write(&format!("{text}\n")),
        }
    }

    fn warning(&self, text: &str) {
        print_error(&format!("cais: warning: {text}\n"));
    }
}

impl State {
    /// Notes what happened; whether it is another thing than before.
    fn note(&mut self, blob: &Descriptor, step: Step, now: Instant) -> bool {
        let id = short(blob);
        let (status, _) = words(step);
        let done = match step {
            Step::Fetching(done) | Step::Pushing(done) | Step::Copying(done) => done,
            _ => 0,
        };
        if let Some(row) = self.rows.iter_mut().find(|row| row.id == id) {
            let is_new = row.status != status;
            if is_new {
                (row.since, row.first) = (now, done);
            }
            row.done = done.max(if is_new { 0 } else { row.done });
            row.status = status;
            row.total = blob.size;
            return is_new;
        }
        self.rows.push(Row {
            id: id.to_owned(),
            status,
            done,
            total: blob.size,
            since: now,
            first: done,
            told: None,
        });
        true
    }

    /// Takes the bars away, writes what stays, and draws them anew below it.
    fn draw(&mut self, stays: &str, columns: usize, lines: usize, now: Instant) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A\r\x1b[J", self.drawn));
        }
        text.push_str(stays);
        let rows = self.rows.iter().take(lines.saturating_sub(2).max(1));
        let bars: Vec<String> = rows
            .map(|row| row.bar(now).chars().take(columns.saturating_sub(1)).collect())
            .collect();
        self.drawn = bars.len();
        for bar in bars {
            text.push_str(&bar);
            text.push('\n');
        }
        text
    }
}

impl Row {
    /// `3b0c44298fc1: Downloading [=====>     ] 12.3MB/88MB 45.1MB/s 2s`.
    fn bar(&self, now: Instant) -> String {
        if !matches!(self.status, "Downloading" | "Pushing" | "Copying") || self.total == 0 {
            return format!("{}: {}", self.id, self.status);
        }
        let part = |whole: usize| {
            let whole = whole as u128;
            let filled = whole * u128::from(self.done.min(self.total)) / u128::from(self.total);
            usize::try_from(filled).unwrap_or(0)
        };
        let filled = part(BAR);
        let arrow = if filled < BAR { ">" } else { "" };
        let empty = BAR.saturating_sub(filled + arrow.len());
        let mut text = format!(
            "{}: {} [{}{arrow}{}] {}/{}",
            self.id,
            self.status,
            "=".repeat(filled),
            " ".repeat(empty),
            human_size(self.done),
            human_size(self.total)
        );
        let millis = now.duration_since(self.since).as_millis();
        let moved = u128::from(self.done.saturating_sub(self.first));
        if millis >= 200 && moved > 0 {
            let rate = (moved * 1000 / millis).max(1);
            let left = u128::from(self.total.saturating_sub(self.done)) / rate;
            let rate = human_size(u64::try_from(rate).unwrap_or(u64::MAX));
            text.push_str(&format!(" {rate}/s {}", time_left(left)));
        }
        text
    }
}

/// `2s`, `3m05s`, `1h02m`.
fn time_left(seconds: u128) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

fn short(blob: &Descriptor) -> &str {
    blob.digest.hex().get(..12).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cais_image::Digest;

    #[test]
    fn bars() {
        let now = Instant::now();
        let blob = Descriptor::new("x", Digest::of(b"x"), 1_000_000);
        let mut state = State::default();
        assert!(state.note(&blob, Step::Fetching(100_000), now));
        let later = now + Duration::from_secs(1);
        assert!(!state.note(&blob, Step::Fetching(400_000), later));
        let text = state.draw("", 200, 24, later);
        assert_eq!(
            text,
            "2d711642b726: Downloading [============>                 ] 400kB/1MB 300kB/s 2s\n"
        );
        assert!(state.note(&blob, Step::Fetched, later));
        let text = state.draw("stays\n", 20, 24, later);
        assert_eq!(text, "\x1b[1A\r\x1b[Jstays\n2d711642b726: Downl\n");
        state.rows.clear();
        assert_eq!(state.draw("", 20, 24, later), "\x1b[1A\r\x1b[J");
        assert_eq!(state.drawn, 0);
    }

    #[test]
    fn times() {
        assert_eq!([5, 65, 3725].map(time_left), ["5s", "1m05s", "1h02m"]);
    }
}

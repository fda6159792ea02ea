//! Showing how far the downloads are: bars on a terminal, or a plain line now and then.

use crate::output;
use crate::rate;
use crate::tally::{Tally, Total, percent};
use crate::text;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::DownloadStatus;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// One of the ways to show progress.
pub(crate) enum Progress {
    /// None at all.
    Hidden,
    /// A line now and then.
    Plain {
        /// When the last one was written, or the command began.
        last: Instant,
    },
    /// A bar per running download and one for all.
    Bars(Box<Bars>),
}

/// The bars on the terminal.
pub(crate) struct Bars {
    multi: MultiProgress,
    shown: Vec<(DownloadId, ProgressBar)>,
    total: Option<ProgressBar>,
}

impl Progress {
    /// Bars where standard error is a terminal and `bars` allows it, plain lines elsewhere.
    pub(crate) fn new(bars: bool) -> Self {
        if bars && std::io::stderr().is_terminal() {
            let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
            Self::Bars(Box::new(Bars { multi, shown: Vec::new(), total: None }))
        } else {
            Self::Plain { last: Instant::now() }
        }
    }

    /// How often [`update`](Self::update) wants to be called.
    pub(crate) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Hidden => None,
            Self::Plain { .. } => Some(PLAIN_INTERVAL),
            Self::Bars(_) => Some(BAR_INTERVAL),
        }
    }

    /// Shows the downloads that run.
    pub(crate) fn update(&mut self, active: &[DownloadStatus], tally: &Tally) {
        match self {
            Self::Hidden => {}
            Self::Plain { last } => {
                if last.elapsed() >= PLAIN_INTERVAL / 2 {
                    *last = Instant::now();
                    output::note(&plain_line(active, tally));
                }
            }
            Self::Bars(bars) => bars.update(active, tally),
        }
    }

    /// Writes something else without tearing the bars.
    pub(crate) fn aside(&mut self, write: impl FnOnce()) {
        match self {
            Self::Bars(bars) if !bars.shown.is_empty() || bars.total.is_some() => bars.multi.suspend(write),
            _ => write(),
        }
    }

    /// The bar of a download that ended goes.
    pub(crate) fn ended(&mut self, id: DownloadId) {
        if let Self::Bars(bars) = self {
            bars.drop_where(|shown| shown == id);
        }
    }

    /// Takes all bars away.
    pub(crate) fn clear(&mut self) {
        if let Self::Bars(bars) = self {
            bars.drop_where(|_| true);
            if let Some(total) = bars.total.take() {
                total.finish_and_clear();
            }
        }
    }
}

impl Bars {
    fn update(&mut self, active: &[DownloadStatus], tally: &Tally) {
        // The total and the prompt need a line each.
        let room = terminal_height().saturating_sub(2).clamp(1, MAX_BARS);
        self.drop_where(|id| !active.iter().any(|status| status.id == id));
        for status in active {
            match self.shown.iter().find(|(id, _)| *id == status.id) {
                Some((_, bar)) => draw(bar, &Total::from(status)),
                None if self.shown.len() < room => {
                    let bar = new_bar(text::escape(&status.metadata.name).into_owned(), &Total::from(status));
                    let bar = self.multi.insert(self.shown.len(), bar);
                    self.shown.push((status.id, bar));
                }
                None => {}
            }
        }
        if tally.files > 1 {
            let total = tally.total(active);
            let prefix = format!("{} of {} files", tally.done + tally.failed, tally.files);
            let bar = self.total.get_or_insert_with(|| self.multi.add(new_bar(prefix.clone(), &total)));
            bar.set_prefix(prefix);
            draw(bar, &total);
        }
    }

    fn drop_where(&mut self, gone: impl Fn(DownloadId) -> bool) {
        let multi = &self.multi;
        self.shown.retain(|(id, bar)| {
            let keep = !gone(*id);
            if !keep {
                bar.finish_and_clear();
                multi.remove(bar);
            }
            keep
        });
    }
}

/// `name: 12.3 MiB of 45.6 MiB (27%), ...`, or `3 of 10 files: ...`.
fn plain_line(active: &[DownloadStatus], tally: &Tally) -> String {
    let total = tally.total(active);
    match active {
        [only] if tally.files == 1 => {
            format!("{}: {}", text::escape(&only.metadata.name), Total::from(only).sentence())
        }
        _ => format!("{} of {} files: {}", tally.done + tally.failed, tally.files, total.sentence()),
    }
}

/// A bar that is complete before it is shown for the first time.
fn new_bar(prefix: String, total: &Total) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_prefix(prefix);
    draw(&bar, total);
    bar
}

fn draw(bar: &ProgressBar, total: &Total) {
    let speed = rate::speed(total.speed);
    let connections = total.connections;
    let completed = rate::bytes(total.completed);
    let eta = total.eta().unwrap_or_else(|| "-".to_owned());
    match total.size {
        Some(size) => {
            let message = format!(
                "{:>3}% {completed:>10} {speed:>12} ETA {eta:>6} {connections:>3}c",
                percent(total.completed, size)
            );
            // A style is only set when it changes: parsing one costs more than drawing.
            if bar.length().is_none() {
                bar.set_style(style("{prefix:30!} [{wide_bar}] {msg}").progress_chars("=> "));
            }
            bar.set_length(size.max(1));
            bar.set_position(if size == 0 { 1 } else { total.completed.min(size) });
            bar.set_message(message);
        }
        None => {
            if bar.length().is_some() || bar.message().is_empty() {
                bar.set_style(style("{prefix:30!} {msg}"));
                bar.unset_length();
            }
            bar.set_message(format!("     {completed:>10} {speed:>12} {:>10} {connections:>3}c", ""));
            bar.tick();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The lines of the terminal; 24 where it does not say.
fn terminal_height() -> usize {
    terminal_size::terminal_size_of(std::io::stderr()).map_or(24, |(_, height)| usize::from(height.0))
}

/// More bars than this help nobody.
const MAX_BARS: usize = 32;

/// What the eye takes in; more only costs time.
const DRAWS_PER_SECOND: u8 = 10;

/// A small file is over before its bar would be seen.
const BAR_INTERVAL: Duration = Duration::from_millis(200);

/// Logs and pipes want to know that it goes on, and no more.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

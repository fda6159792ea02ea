//! What every runtime must do, as functions over a [`Rig`], and as the suites [`links_suite!`](crate::links_suite) and
//! [`engine_suite!`](crate::engine_suite) that call them all. What can be told of an engine in a simulated world, too, is
//! over a [`World`](world::World), and in [`world_suite!`](crate::world_suite); of links, over [`Wires`](wires::Wires), and in
//! [`wires_suite!`](crate::wires_suite).

mod accept;
mod bench;
mod cancel;
mod crowd;
mod engine;
mod files;
mod home;
mod leftovers;
mod links;
mod udp;
pub mod wires;
pub mod world;

pub use accept::{
    both_families_share_a_port, dropping_closes_listeners, few_wait_for_an_answer, many_are_accepted_at_once,
};
pub use cancel::{
    calls_can_be_dropped_wherever_they_wait, drivers_can_be_dropped_wherever_they_wait,
    dropped_futures_leave_commands_in_force, reads_can_be_dropped_wherever_they_wait,
    shutdown_can_be_dropped_wherever_it_waits,
};
pub use crowd::{crowd_in_a_child, crowds_are_answered};
pub use engine::{
    a_file_arrives, a_slow_subscriber_slows_nobody, an_empty_file_arrives, commands_are_obeyed,
    downloads_are_read_before_their_turn, files_are_read_before_their_turn, it_goes_on_after_a_drop,
    shutdown_is_bounded,
};
pub use files::{
    files_are_sent_to_the_byte, files_go_to_whoever_connected, files_wait_for_the_other_side,
    missing_files_end_their_link,
};
pub use leftovers::{engines_in_a_child, nothing_is_left};
pub use links::{
    adopted_links_are_links, closing_sends_what_is_queued, credit_is_kept_to_the_byte,
    datagrams_arrive_each_by_itself, dropping_closes_everything, half_closed_links_deliver_all,
    links_come_from_where_they_are_told, places_that_cannot_be_had_are_told, refusals_are_told,
    resets_are_told, unbound_sockets_are_gone, unlistening_closes_what_waits, what_was_sent_is_told,
};
pub use udp::{
    batches_stay_apart, closed_sockets_free_their_port, datagrams_go_both_ways, errors_end_no_socket,
    floods_are_dropped, large_datagrams_and_both_families,
};

use gosh_dl_core::base::store::Store;
use gosh_dl_core::engine::{EngineConfig, EngineError};
use gosh_dl_runtime::{Handle, Runtime};
use std::future::Future;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// A runtime that runs by itself, on threads of its own, for as long as this value lives.
pub trait Rig {
    /// The runtime.
    type Runtime: Runtime;
    /// Its engine; dropping it ends it.
    type Engine: Deref<Target = Handle> + Send + Sync + 'static;

    /// The runtime.
    fn runtime(&self) -> Self::Runtime;

    /// Starts an engine, as applications do.
    ///
    /// # Errors
    ///
    /// Those of the engine.
    fn start(&self, config: EngineConfig, store: Box<dyn Store>) -> Result<Arc<Self::Engine>, EngineError>;

    /// Calls `act` where the runtime may be used.
    fn enter<T>(&self, act: impl FnOnce() -> T) -> T {
        act()
    }
}

/// The tests of links, listeners and UDP sockets in any network, which may be a simulated one:
/// `wires_suite!(name, wires)`, with [`Wires`](wires::Wires).
#[macro_export]
macro_rules! wires_suite {
    ($name:ident, $wires:expr) => {
        mod $name {
            $crate::wires_suite!(@tests $wires);
        }
    };
    (@tests $wires:expr) => {
        #[test]
        fn credit_is_kept_to_the_byte() {
            $crate::runtime::credit_is_kept_to_the_byte($wires);
        }

        #[test]
        fn a_half_closed_link_delivers_all_and_then_its_end() {
            $crate::runtime::half_closed_links_deliver_all($wires);
        }

        #[test]
        fn a_reset_is_told() {
            $crate::runtime::resets_are_told($wires);
        }

        #[test]
        fn a_refusal_is_told() {
            $crate::runtime::refusals_are_told($wires);
        }

        #[test]
        fn what_was_sent_is_told() {
            $crate::runtime::what_was_sent_is_told($wires);
        }

        #[test]
        fn closing_sends_what_is_queued() {
            $crate::runtime::closing_sends_what_is_queued($wires);
        }

        #[test]
        fn dropping_the_links_closes_everything() {
            $crate::runtime::dropping_closes_everything($wires);
        }

        #[test]
        fn a_link_comes_from_where_it_is_told() {
            $crate::runtime::links_come_from_where_they_are_told($wires);
        }

        #[test]
        fn an_adopted_link_is_a_link() {
            $crate::runtime::adopted_links_are_links($wires);
        }

        #[test]
        fn unlistening_closes_what_waits() {
            $crate::runtime::unlistening_closes_what_waits($wires);
        }

        #[test]
        fn a_place_that_cannot_be_had_is_told() {
            $crate::runtime::places_that_cannot_be_had_are_told($wires);
        }

        #[test]
        fn datagrams_arrive_each_by_itself() {
            $crate::runtime::datagrams_arrive_each_by_itself($wires);
        }

        #[test]
        fn an_unbound_socket_is_gone() {
            $crate::runtime::unbound_sockets_are_gone($wires);
        }
    };
}

/// The tests of a runtime's links, listeners and UDP sockets: `links_suite!(name, rig)`.
#[macro_export]
macro_rules! links_suite {
    ($name:ident, $rig:expr) => {
        mod $name {
            use $crate::runtime as suite;

            $crate::wires_suite!(@tests suite::wires::Loopback::new(&$rig));

            #[test]
            fn many_are_accepted_at_once() {
                suite::many_are_accepted_at_once(&$rig);
            }

            #[test]
            fn few_wait_for_an_answer() {
                suite::few_wait_for_an_answer(&$rig);
            }

            #[test]
            fn both_families_share_a_port() {
                suite::both_families_share_a_port(&$rig);
            }

            #[test]
            fn dropping_closes_listeners() {
                suite::dropping_closes_listeners(&$rig);
            }

            #[test]
            fn datagrams_go_both_ways() {
                suite::datagrams_go_both_ways(&$rig);
            }

            #[test]
            fn batches_stay_apart() {
                suite::batches_stay_apart(&$rig);
            }

            #[test]
            fn errors_end_no_socket() {
                suite::errors_end_no_socket(&$rig);
            }

            #[test]
            fn large_datagrams_and_both_families() {
                suite::large_datagrams_and_both_families(&$rig);
            }

            #[test]
            fn a_flood_is_dropped() {
                suite::floods_are_dropped(&$rig);
            }

            #[test]
            fn a_closed_socket_frees_its_port() {
                suite::closed_sockets_free_their_port(&$rig);
            }

            #[test]
            fn files_are_sent_to_the_byte() {
                suite::files_are_sent_to_the_byte(&$rig);
            }

            #[test]
            fn files_wait_for_the_other_side() {
                suite::files_wait_for_the_other_side(&$rig);
            }

            #[test]
            fn a_missing_file_ends_its_link() {
                suite::missing_files_end_their_link(&$rig);
            }

            #[test]
            fn files_go_to_whoever_connected() {
                suite::files_go_to_whoever_connected(&$rig);
            }

            /// Not a test of its own: what the next one runs in a process with few descriptors.
            #[test]
            fn child_with_few_descriptors() {
                suite::crowd_in_a_child(&$rig);
            }

            #[test]
            fn a_crowd_of_links_is_answered_although_descriptors_run_out() {
                suite::crowds_are_answered(concat!(module_path!(), "::child_with_few_descriptors"));
            }
        }
    };
}

/// The tests of an engine in a [`World`](world::World), which may be a simulated one: `world_suite!(name, world)`.
#[macro_export]
macro_rules! world_suite {
    ($name:ident, $world:expr) => {
        mod $name {
            $crate::world_suite!(@tests $world);
        }
    };
    (@tests $world:expr) => {
        #[test]
        fn a_file_arrives_whole() {
            $crate::runtime::a_file_arrives($world);
        }

        #[test]
        fn an_empty_file_arrives() {
            $crate::runtime::an_empty_file_arrives($world);
        }

        #[test]
        fn a_dropped_engine_frees_all_and_the_next_goes_on() {
            $crate::runtime::it_goes_on_after_a_drop($world);
        }

        #[test]
        fn shutdown_is_bounded_while_the_server_hangs() {
            $crate::runtime::shutdown_is_bounded($world);
        }

        #[test]
        fn commands_are_obeyed_and_kept() {
            $crate::runtime::commands_are_obeyed($world);
        }

        #[test]
        fn a_slow_subscriber_slows_nobody_and_loses_no_end() {
            $crate::runtime::a_slow_subscriber_slows_nobody($world);
        }

        #[test]
        fn a_file_is_read_before_its_turn() {
            $crate::runtime::files_are_read_before_their_turn($world);
        }

        #[test]
        fn a_download_is_read_before_its_turn() {
            $crate::runtime::downloads_are_read_before_their_turn($world);
        }
    };
}

/// The tests of a runtime with a store: `engine_suite!(name, rig, backend)`.
#[macro_export]
macro_rules! engine_suite {
    ($name:ident, $rig:expr, $backend:expr) => {
        mod $name {
            use $crate::runtime as suite;

            $crate::world_suite!(@tests suite::world::Real::new(&$rig, &$backend));

            #[test]
            fn a_dropped_future_leaves_the_command_in_force() {
                suite::dropped_futures_leave_commands_in_force(&$rig, &$backend);
            }

            #[test]
            fn a_call_can_be_dropped_wherever_it_waits() {
                suite::calls_can_be_dropped_wherever_they_wait(&$rig, &$backend);
            }

            #[test]
            fn a_shutdown_can_be_dropped_wherever_it_waits() {
                suite::shutdown_can_be_dropped_wherever_it_waits(&$rig, &$backend);
            }

            #[test]
            fn a_read_can_be_dropped_wherever_it_waits() {
                suite::reads_can_be_dropped_wherever_they_wait(&$rig, &$backend);
            }

            #[test]
            fn a_driver_can_be_dropped_wherever_it_waits() {
                suite::drivers_can_be_dropped_wherever_they_wait(&$rig, &$backend);
            }

            /// Not a test of its own: what the next one runs in a process of its own.
            #[test]
            fn child_that_counts_what_is_left() {
                suite::engines_in_a_child(&$rig, &$backend);
            }

            #[test]
            fn engines_that_are_gone_leave_no_thread_and_no_descriptor() {
                suite::nothing_is_left(concat!(module_path!(), "::child_that_counts_what_is_left"));
            }
        }
    };
}

/// Waits on this thread, for a minute at most.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let deadline = Instant::now() + MINUTE;
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "it takes too long");
        std::thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until `is_so`, for a minute at most.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + MINUTE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: it takes too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const MINUTE: Duration = Duration::from_secs(60);

//! Single flight: within one process, at most one refresh of a connection is under way, and all who need it wait for
//! the same one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jeton_core::id::ConnectionName;
use tokio::sync::watch;

use crate::error::TokenError;

/// How a flight ended. Whoever waited looks at the connection again.
pub(crate) type Landing = Result<(), TokenError>;

/// All flights by connection.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<ConnectionName, watch::Receiver<Option<Landing>>>>);

/// The pilot's end of a flight: lands it when it is done, and when it is dropped without having said how it ended.
#[derive(Debug)]
pub(crate) struct Pilot {
    flights: Arc<Flights>,
    name: ConnectionName,
    landing: watch::Sender<Option<Landing>>,
}

/// What joining gives.
#[derive(Debug)]
pub(crate) enum Seat {
    /// Nobody was flying: fly, and let others wait here.
    Pilot(Pilot, Passenger),
    /// A flight is under way.
    Passenger(Passenger),
}

/// Waits for a flight.
#[derive(Debug)]
pub(crate) struct Passenger(watch::Receiver<Option<Landing>>);

impl Flights {
    /// Joins the flight of a connection, or begins one.
    pub(crate) fn join(self: &Arc<Self>, name: &ConnectionName) -> Seat {
        let mut flights = self.0.lock().expect("no panic happens under this lock");
        if let Some(landing) = flights.get(name) {
            return Seat::Passenger(Passenger(landing.clone()));
        }
        let (landing, wait) = watch::channel(None);
        flights.insert(name.clone(), wait.clone());
        Seat::Pilot(Pilot { flights: Arc::clone(self), name: name.clone(), landing }, Passenger(wait))
    }
}

impl Pilot {
    /// Ends the flight. It is taken off the board first, so that whoever is told looks at a board without it.
    pub(crate) fn land(self, landing: Landing) {
        self.take_off_board();
        self.landing.send_replace(Some(landing));
    }

    fn take_off_board(&self) {
        if let Ok(mut flights) = self.flights.0.lock()
            && flights.get(&self.name).is_some_and(|wait| wait.same_channel(&self.landing.subscribe()))
        {
            flights.remove(&self.name);
        }
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.take_off_board();
    }
}

impl Passenger {
    /// Waits until the flight has ended; `None` when its task died without an answer.
    pub(crate) async fn landed(mut self) -> Option<Landing> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_joins_gets_the_one_landing() {
        let flights = Arc::new(Flights::default());
        let name: ConnectionName = "acme".parse().unwrap();
        let Seat::Pilot(pilot, first) = flights.join(&name) else { panic!("the first one flies") };
        let Seat::Passenger(second) = flights.join(&name) else { panic!("the second one waits") };
        pilot.land(Err(TokenError::OnHold));
        assert_eq!(first.landed().await, Some(Err(TokenError::OnHold)));
        assert_eq!(second.landed().await, Some(Err(TokenError::OnHold)));
        assert!(matches!(flights.join(&name), Seat::Pilot(..)));
    }

    #[tokio::test]
    async fn a_flight_whose_task_dies_wakes_everybody_and_leaves_the_board_empty() {
        let flights = Arc::new(Flights::default());
        let name: ConnectionName = "acme".parse().unwrap();
        let Seat::Pilot(pilot, passenger) = flights.join(&name) else { panic!("the first one flies") };
        drop(pilot);
        assert_eq!(passenger.landed().await, None);
        assert!(matches!(flights.join(&name), Seat::Pilot(..)));
    }
}

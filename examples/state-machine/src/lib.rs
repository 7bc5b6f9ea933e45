//! The function of the state-machine example. It follows each device through its states, and reports an event that is impossible in
//! the device's state.

use cofferdam_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// The states of a device. An unknown device is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, StateType)]
enum Device {
    #[default]
    Off,
    Idle,
    Running,
    Broken,
}

impl Device {
    /// Returns the state after the event, or `None` if the event is impossible in this state.
    fn after(self, event: &str) -> Option<Device> {
        match (self, event) {
            (Device::Off, "power-on") | (Device::Running, "stop") => Some(Device::Idle),
            (Device::Idle, "start") => Some(Device::Running),
            (Device::Running, "fail") => Some(Device::Broken),
            (Device::Idle, "power-off") | (Device::Broken, "repair") => Some(Device::Off),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Device::Off => "off",
            Device::Idle => "idle",
            Device::Running => "running",
            Device::Broken => "broken",
        }
    }
}

/// An event of a device.
#[derive(Record)]
struct Reported<'a> {
    time: u64,
    device: &'a str,
    event: &'a str,
}

/// An impossible event of a device.
#[derive(Record)]
struct Alert<'a> {
    time: u64,
    device: &'a str,
    state: &'a str,
    event: &'a str,
}

/// Emits an alert for each impossible event. The device keeps its state then.
#[derive(Function)]
struct Watch {
    /// The state of each device. A device that is off has no entry.
    state: ValueState<Device>,
}

#[function]
impl KeyedProcessFunction for Watch {
    type Key = String;
    type In = Reported<'static>;
    type Out = Alert<'static>;

    fn process_element(
        &mut self,
        reported: Reported,
        _: &mut KeyedContext<String>,
        out: &mut Collector<Alert<'static>>,
    ) -> Result {
        let Reported { time, device, event } = reported;
        let state = self.state.get_or_default();
        match state.after(event) {
            None => out.emit(Alert { time, device, state: state.name(), event }),
            Some(Device::Off) => self.state.clear(),
            Some(next) => self.state.set(next),
        }
        Ok(())
    }
}

cofferdam_sdk::export!(Watch);

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_sdk::testing::Harness;

    fn alerts(harness: &mut Harness<Watch>, events: &[(u64, &str, &str)]) -> Result<Vec<OwnedAlert>> {
        for &(time, device, event) in events {
            harness.push(device, Reported { time, device, event }, 0)?;
        }
        harness.take_output()
    }

    fn alert(time: u64, device: &str, state: &str, event: &str) -> OwnedAlert {
        Alert { time, device, state, event }.into()
    }

    #[test]
    fn possible_events_give_no_alert_and_leave_no_state() -> Result {
        let mut harness = Harness::<Watch>::new();
        let life = [(1, "m", "power-on"), (2, "m", "start"), (3, "m", "stop"), (4, "m", "start"), (5, "m", "fail")];
        assert!(alerts(&mut harness, &life)?.is_empty());
        assert_eq!(harness.read_state("m", |watch| watch.state.get()), Some(Device::Broken));
        let end = [(6, "m", "repair"), (7, "m", "power-on"), (8, "m", "power-off")];
        assert!(alerts(&mut harness, &end)?.is_empty());
        assert_eq!(harness.read_state("m", |watch| watch.state.get()), None);
        Ok(())
    }

    #[test]
    fn an_impossible_event_is_reported_and_changes_nothing() -> Result {
        let mut harness = Harness::<Watch>::new();
        let events = [(1, "m", "power-on"), (2, "m", "stop"), (3, "m", "start")];
        assert_eq!(alerts(&mut harness, &events)?, [alert(2, "m", "idle", "stop")]);
        assert_eq!(harness.read_state("m", |watch| watch.state.get()), Some(Device::Running));
        Ok(())
    }

    #[test]
    fn each_device_has_its_own_state() -> Result {
        let events = [(1, "m", "power-on"), (2, "n", "start"), (3, "m", "start")];
        assert_eq!(alerts(&mut Harness::new(), &events)?, [alert(2, "n", "off", "start")]);
        Ok(())
    }
}

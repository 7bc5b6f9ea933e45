//! The function of the state-machine example. It follows each device through its states, and reports an event that is impossible in
//! the device's state.

use cofferdam_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// The states of a device. An unknown device is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, StateType)]
#[serde(rename_all = "lowercase")]
enum Device {
    #[default]
    Off,
    Idle,
    Running,
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Event {
    PowerOn,
    PowerOff,
    Start,
    Stop,
    Fail,
    Repair,
}

impl Device {
    /// Returns the state after the event, or `None` if the event is impossible in this state.
    fn after(self, event: Event) -> Option<Device> {
        match (self, event) {
            (Device::Off, Event::PowerOn) | (Device::Running, Event::Stop) => Some(Device::Idle),
            (Device::Idle, Event::Start) => Some(Device::Running),
            (Device::Running, Event::Fail) => Some(Device::Broken),
            (Device::Idle, Event::PowerOff) | (Device::Broken, Event::Repair) => Some(Device::Off),
            _ => None,
        }
    }
}

/// A row of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Reported {
    time: u64,
    device: String,
    event: Event,
}

/// An impossible event of a device.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Alert {
    time: u64,
    device: String,
    state: Device,
    event: Event,
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
    type In = Csv<Reported>;
    type Out = Json<Alert>;

    fn process_element(
        &mut self,
        reported: Reported,
        _: &mut KeyedContext<String>,
        out: &mut Collector<Self::Out>,
    ) -> Result {
        let Reported { time, device, event } = reported;
        let state = self.state.get_or_default();
        match state.after(event) {
            None => out.emit(Alert { time, device, state, event }),
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

    fn alerts(harness: &mut Harness<Watch>, rows: &[&str]) -> Result<Vec<String>> {
        for row in rows {
            let device = row.split(',').nth(1).ok_or("no device")?;
            harness.push_raw(device, row, 0)?;
        }
        harness.take_text()
    }

    #[test]
    fn possible_events_give_no_alert_and_leave_no_state() -> Result {
        let mut harness = Harness::<Watch>::new();
        let life = ["1,m,power-on", "2,m,start", "3,m,stop", "4,m,start", "5,m,fail"];
        assert!(alerts(&mut harness, &life)?.is_empty());
        assert_eq!(harness.read_state("m", |watch| watch.state.get()), Some(Device::Broken));
        assert!(alerts(&mut harness, &["6,m,repair", "7,m,power-on", "8,m,power-off"])?.is_empty());
        assert_eq!(harness.read_state("m", |watch| watch.state.get()), None);
        Ok(())
    }

    #[test]
    fn an_impossible_event_is_reported_and_changes_nothing() -> Result {
        let mut harness = Harness::<Watch>::new();
        let alert = r#"{"time":2,"device":"m","state":"idle","event":"stop"}"#;
        assert_eq!(alerts(&mut harness, &["1,m,power-on", "2,m,stop", "3,m,start"])?, [alert]);
        assert_eq!(harness.read_state("m", |watch| watch.state.get()), Some(Device::Running));
        Ok(())
    }

    #[test]
    fn each_device_has_its_own_state() -> Result {
        let alert = r#"{"time":2,"device":"n","state":"off","event":"start"}"#;
        assert_eq!(alerts(&mut Harness::new(), &["1,m,power-on", "2,n,start", "3,m,start"])?, [alert]);
        Ok(())
    }
}

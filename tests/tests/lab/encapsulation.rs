//! Every encapsulation carries real traffic, in native and in generic mode, and every packet that
//! arrives is right to the bit: seen on the backends' wires, not believed from their answers.

mod carry;
mod corrupt;
mod frames;
mod plan;
mod refuse;
mod stage;
mod watch;

use anyhow::Result;
use xtask::lab::{Arms, Mode};

use stage::Stage;

fn tell(mode: Mode, arms: Arms) -> Result<()> {
    let mut stage = Stage::build(mode, arms)?;
    stage.expect_mode()?;
    let seen = carry::connections_on_every_path(&mut stage)?;
    corrupt::every_flipped_byte_is_found(&stage, &seen)?;
    frames::odd_frames_arrive_as_plain_packets(&mut stage)?;
    refuse::echo_is_answered_by_the_ingress_node(&mut stage)?;
    refuse::what_nobody_serves_vanishes_and_is_counted(&mut stage)
}

#[test]
fn native_from_one_nic_to_another() -> Result<()> {
    tell(Mode::Native, Arms::Two)
}

#[test]
fn native_out_of_the_nic_it_came_in_by() -> Result<()> {
    tell(Mode::Native, Arms::One)
}

#[test]
fn generic_from_one_nic_to_another() -> Result<()> {
    tell(Mode::Generic, Arms::Two)
}

#[test]
fn generic_out_of_the_nic_it_came_in_by() -> Result<()> {
    tell(Mode::Generic, Arms::One)
}

//! Why a page is not believed. Values for the caller, a sentence for the operator.

use crate::units::VolumeId;
use std::fmt;

/// What is wrong with a page, or with the pages that together should say something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The device did not give the page.
    Unreadable,
    /// Nothing but zeroes: never formatted, or wiped.
    Blank,
    /// Not one of our pages.
    Magic,
    /// Content and checksum differ: torn, rotten, or overwritten.
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// A sound page of a format that this engine does not know.
    Version {
        /// The page's version.
        found: u16,
    },
    /// A sound page of another kind.
    Kind {
        /// The page's kind.
        found: u8,
    },
    /// A sound page of another place: a misdirected read or write.
    Address {
        /// Place that was asked for.
        expected: u64,
        /// Place that the page names.
        found: u64,
    },
    /// A sound page of another slot or sector.
    Slot {
        /// Slot that was asked for.
        expected: u8,
        /// Slot that the page names.
        found: u8,
    },
    /// A sound page of another volume.
    Volume {
        /// Volume that was asked for.
        expected: VolumeId,
        /// Volume that the page names.
        found: VolumeId,
    },
    /// Bytes that must be zero are not.
    Reserved {
        /// Offset of the first one in the page.
        at: usize,
    },
    /// A field holds a value that it can't have.
    Field {
        /// Name of the field.
        name: &'static str,
        /// The value.
        value: u64,
    },
    /// Neither superblock slot can be used.
    BothSlots {
        /// Damage of slot 0.
        first: Box<Damage>,
        /// Damage of slot 1.
        second: Box<Damage>,
    },
    /// Both superblock slots are sound and contradict each other.
    SlotsDisagree {
        /// Sequences of slot 0 and slot 1.
        sequences: [u64; 2],
        /// Volumes of slot 0 and slot 1.
        volumes: [VolumeId; 2],
    },
}

impl Damage {
    /// Whether it only says that nothing was ever written.
    pub fn is_blank(&self) -> bool {
        match self {
            Damage::Blank => true,
            Damage::BothSlots { first, second } => first.is_blank() && second.is_blank(),
            _ => false,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Unreadable => f.write_str("the device does not return it"),
            Damage::Blank => f.write_str("holds only zeroes (never formatted, or wiped)"),
            Damage::Magic => f.write_str("is not a page of Lockstep"),
            Damage::Checksum { stored, computed } => write!(
                f,
                "has checksum {stored:08x} but its content gives {computed:08x} (torn or rotten)"
            ),
            Damage::Version { found } => {
                write!(f, "has format version {found}, this engine knows up to {}", super::VERSION)
            }
            Damage::Kind { found } => write!(f, "is of kind {found}, another one belongs here"),
            Damage::Address { expected, found } => {
                write!(f, "says that it belongs to page {found}, not {expected} (misdirected)")
            }
            Damage::Slot { expected, found } => {
                write!(f, "says that it belongs to slot {found}, not {expected} (misdirected)")
            }
            Damage::Volume { expected, found } => {
                write!(f, "belongs to volume {found}, not {expected}")
            }
            Damage::Reserved { at } => write!(f, "has bytes set at {at} that must be zero"),
            Damage::Field { name, value } => write!(f, "has impossible {name} = {value}"),
            Damage::BothSlots { first, second } => {
                write!(f, "both superblock slots are unusable: slot 0 {first}; slot 1 {second}")
            }
            Damage::SlotsDisagree { sequences: [a, b], volumes: [v, w] } => write!(
                f,
                "superblock slots contradict each other: slot 0 has sequence {a} of volume {v}, \
                 slot 1 has sequence {b} of volume {w}"
            ),
        }
    }
}

impl std::error::Error for Damage {}

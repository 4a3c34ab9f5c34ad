//! Names the protocol and its versions. Both ends must speak the same one.
//! Always: a change of any byte of a frame or greeting comes with a new line of the ledger, and the
//! golden vectors of the old version stay.

/// First bytes of every frame.
pub const FRAME_MAGIC: [u8; 4] = *b"LSfr";

/// First bytes of every greeting message. This, the version behind it and the shape of a refusal
/// are the same in every version, so that two versions can tell each other apart.
pub const GREETING_MAGIC: [u8; 8] = *b"LSgreet\n";

/// What each version changed, oldest first.
pub const LEDGER: &[(u16, &str)] = &[
    (1, "first shape"),
    (2, "the source acknowledges `Bits`: a target's bitmap is no longer queued whole"),
];

/// The version that this build speaks.
pub const VERSION: u16 = LEDGER[LEDGER.len() - 1].0;

const _: () = {
    let mut i = 1;
    while i < LEDGER.len() {
        assert!(LEDGER[i].0 == LEDGER[i - 1].0 + 1);
        i += 1;
    }
};

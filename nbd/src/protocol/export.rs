//! The one export that a server offers, and the flags that describe it.
//! Always: the size is whole blocks, and the texts are short enough for every reply to be bounded.

use super::constants::{
    BLOCK_BYTES_MIN, DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, transmission_flag,
};
use std::fmt;

/// What is offered to clients. Build it with [`Export::new`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    name: String,
    description: String,
    size: u64,
    block_preferred: u32,
    read_only: bool,
    rotational: bool,
    fast_zero: bool,
}

/// Why an export cannot be offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportError {
    /// The size is not whole blocks.
    Size {
        /// Bytes.
        size: u64,
    },
    /// The name is too long or holds a NUL.
    Name {
        /// Bytes.
        len: usize,
    },
    /// The description is too long or holds a NUL.
    Description {
        /// Bytes.
        len: usize,
    },
    /// The preferred block size is no power of two from the smallest block to the largest payload.
    Preferred {
        /// Bytes.
        bytes: u32,
    },
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportError::Size { size } => write!(
                f,
                "export of {size} bytes: not a multiple of {BLOCK_BYTES_MIN}; cut the device"
            ),
            ExportError::Name { len } => write!(
                f,
                "export name of {len} bytes: holds a NUL or is longer than {NAME_BYTES_MAX}; \
                 choose another"
            ),
            ExportError::Description { len } => write!(
                f,
                "export description of {len} bytes: holds a NUL or is longer than \
                 {DESCRIPTION_BYTES_MAX}; shorten it"
            ),
            ExportError::Preferred { bytes } => write!(
                f,
                "preferred block size {bytes}: no power of two from {BLOCK_BYTES_MIN} to \
                 {PAYLOAD_BYTES_MAX}; choose one"
            ),
        }
    }
}

impl std::error::Error for ExportError {}

impl Export {
    /// A writable export of `size` bytes.
    ///
    /// # Errors
    /// The size is not whole blocks, or the name does not fit the protocol.
    pub fn new(name: &str, size: u64) -> Result<Export, ExportError> {
        if !size.is_multiple_of(u64::from(BLOCK_BYTES_MIN)) {
            return Err(ExportError::Size { size });
        }
        if name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(ExportError::Name { len: name.len() });
        }
        Ok(Export {
            name: name.to_owned(),
            description: String::new(),
            size,
            block_preferred: BLOCK_BYTES_MIN,
            read_only: false,
            rotational: false,
            fast_zero: false,
        })
    }

    /// The same export with a text for people.
    ///
    /// # Errors
    /// The text does not fit the protocol.
    pub fn with_description(mut self, text: &str) -> Result<Export, ExportError> {
        if text.len() > DESCRIPTION_BYTES_MAX || text.contains('\0') {
            return Err(ExportError::Description { len: text.len() });
        }
        text.clone_into(&mut self.description);
        Ok(self)
    }

    /// The same export with another preferred block size, in bytes.
    ///
    /// # Errors
    /// No power of two, or smaller than a block (Size constraints).
    pub fn with_preferred(mut self, bytes: u32) -> Result<Export, ExportError> {
        let fits = (BLOCK_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&bytes);
        if !fits || !bytes.is_power_of_two() {
            return Err(ExportError::Preferred { bytes });
        }
        self.block_preferred = bytes;
        Ok(self)
    }

    /// The same export, refusing writes or not.
    pub fn with_read_only(mut self, on: bool) -> Export {
        self.read_only = on;
        self
    }

    /// The same export, on a rotating medium or not.
    pub fn with_rotational(mut self, on: bool) -> Export {
        self.rotational = on;
        self
    }

    /// The same export, taking fast zeroes (if only to refuse them with `ENOTSUP`) or not.
    pub fn with_fast_zero(mut self, on: bool) -> Export {
        self.fast_zero = on;
        self
    }

    /// Canonical name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Text for people, maybe empty.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Preferred block size in bytes.
    pub fn block_preferred(&self) -> u32 {
        self.block_preferred
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether fast zeroes are advertised.
    pub fn has_fast_zero(&self) -> bool {
        self.fast_zero && !self.read_only
    }

    /// Whether a client that asks for `name` means this export.
    /// Option types, `NBD_OPT_EXPORT_NAME`: the empty name is the default export, here the
    /// only one.
    pub fn answers_to(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }

    /// Transmission flags for a client with or without structured replies.
    /// Transmission flags: DF only with structured replies, FAST_ZERO only with WRITE_ZEROES.
    pub fn transmission_flags(&self, structured: bool) -> u16 {
        use transmission_flag as flag;
        let mut flags = flag::HAS_FLAGS | flag::SEND_FLUSH | flag::SEND_FUA | flag::CAN_MULTI_CONN;
        if self.read_only {
            flags |= flag::READ_ONLY;
        } else {
            flags |= flag::SEND_TRIM | flag::SEND_WRITE_ZEROES;
        }
        if self.rotational {
            flags |= flag::ROTATIONAL;
        }
        if self.has_fast_zero() {
            flags |= flag::SEND_FAST_ZERO;
        }
        if structured {
            flags |= flag::SEND_DF;
        }
        flags
    }
}

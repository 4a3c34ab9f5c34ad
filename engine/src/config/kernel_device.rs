//! The name of a volume's block device: by number, or by the volume with whatever number is free.

use std::fmt;
use std::path::Path;

/// Where the kernel shows a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelDevice {
    /// The N of `/dev/nbdN`; `None` is the first that is free.
    pub index: Option<u32>,
}

impl KernelDevice {
    /// What may be written.
    pub const WANTED: &'static str = "\"/dev/lockstep/NAME\" with the name of the volume, or \
                                      \"/dev/nbdN\"";

    /// The device of this path, for the volume of this name.
    pub fn parse(path: &Path, volume: &str) -> Option<KernelDevice> {
        let text = path.to_str()?;
        if text.strip_prefix("/dev/lockstep/") == Some(volume) {
            return Some(KernelDevice { index: None });
        }
        let digits = text.strip_prefix("/dev/nbd")?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() <= 4;
        let index = digits.parse().ok().filter(|_| plain)?;
        Some(KernelDevice { index: Some(index) })
    }

    /// The text that parses to this.
    pub fn shown(self, volume: &str) -> impl fmt::Display {
        match self.index {
            Some(index) => format!("/dev/nbd{index}"),
            None => format!("/dev/lockstep/{volume}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_by_its_number_or_by_its_volume() {
        let parse = |text: &str| KernelDevice::parse(Path::new(text), "orders");
        assert_eq!(parse("/dev/nbd12"), Some(KernelDevice { index: Some(12) }));
        assert_eq!(parse("/dev/lockstep/orders"), Some(KernelDevice { index: None }));
        for wrong in ["/dev/lockstep/other", "/dev/nbd", "/dev/nbd1p1", "/dev/nbd+1", "/dev/sda"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        for text in ["/dev/nbd12", "/dev/lockstep/orders"] {
            let found = parse(text).map(|device| device.shown("orders").to_string());
            assert_eq!(found.as_deref(), Some(text));
        }
    }
}

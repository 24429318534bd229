//! What the collector shows of a disk's properties in udev's data base.

use crate::storage::udev;

/// udev's properties of a disk; empty where it has none.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Properties {
    pub(super) path: Box<[u8]>,
    pub(super) wwn: Box<[u8]>,
    pub(super) model: Box<[u8]>,
    pub(super) revision: Box<[u8]>,
    pub(super) scsi_serial: Box<[u8]>,
    pub(super) short_serial: Box<[u8]>,
    pub(super) long_serial: Box<[u8]>,
    pub(super) filesystem_type: Box<[u8]>,
    pub(super) filesystem_usage: Box<[u8]>,
    pub(super) filesystem_uuid: Box<[u8]>,
    pub(super) filesystem_version: Box<[u8]>,
    pub(super) mapper_name: Box<[u8]>,
    pub(super) mapper_uuid: Box<[u8]>,
    pub(super) volume_group: Box<[u8]>,
    pub(super) logical_volume: Box<[u8]>,
    pub(super) logical_volume_layer: Box<[u8]>,
    pub(super) ata: Box<[u8]>,
    pub(super) ata_write_cache: Box<[u8]>,
    pub(super) ata_write_cache_enabled: Box<[u8]>,
    pub(super) ata_rotation_rate: Box<[u8]>,
}

impl Properties {
    /// Takes the properties of a disk.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut properties = Properties::default();
        for (key, value) in udev::properties(text) {
            let place = match key {
                b"ID_PATH" => &mut properties.path,
                b"ID_WWN" => &mut properties.wwn,
                b"ID_MODEL" => &mut properties.model,
                b"ID_REVISION" => &mut properties.revision,
                b"SCSI_IDENT_SERIAL" => &mut properties.scsi_serial,
                b"ID_SERIAL_SHORT" => &mut properties.short_serial,
                b"ID_SERIAL" => &mut properties.long_serial,
                b"ID_FS_TYPE" => &mut properties.filesystem_type,
                b"ID_FS_USAGE" => &mut properties.filesystem_usage,
                b"ID_FS_UUID" => &mut properties.filesystem_uuid,
                b"ID_FS_VERSION" => &mut properties.filesystem_version,
                b"DM_NAME" => &mut properties.mapper_name,
                b"DM_UUID" => &mut properties.mapper_uuid,
                b"DM_VG_NAME" => &mut properties.volume_group,
                b"DM_LV_NAME" => &mut properties.logical_volume,
                b"DM_LV_LAYER" => &mut properties.logical_volume_layer,
                b"ID_ATA" => &mut properties.ata,
                b"ID_ATA_WRITE_CACHE" => &mut properties.ata_write_cache,
                b"ID_ATA_WRITE_CACHE_ENABLED" => &mut properties.ata_write_cache_enabled,
                b"ID_ATA_ROTATION_RATE_RPM" => &mut properties.ata_rotation_rate,
                _ => continue,
            };
            *place = value.into();
        }
        properties
    }

    /// The serial number as the disk's label has it, if it is known; a virtio disk has only the
    /// long one.
    pub(super) fn serial(&self) -> &[u8] {
        [&self.scsi_serial, &self.short_serial, &self.long_serial]
            .into_iter()
            .find(|serial| !serial.is_empty())
            .map_or(b"", |serial| serial)
    }
}

"""Messages of ISO 20022 as this engine writes and reads them. All of it is pure: no network, no database, no clock."""

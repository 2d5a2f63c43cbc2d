-- Makes room for devices that may do nothing but probe the chat.
-- oldest code: 1

ALTER TABLE devices ADD COLUMN is_probe boolean NOT NULL DEFAULT false;

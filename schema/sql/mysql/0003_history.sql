-- Which stretches the state had skipped that the progress stands for.
ALTER TABLE progress ADD COLUMN history CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '0' AFTER record_hash;

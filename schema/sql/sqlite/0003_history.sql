-- Which stretches the state had skipped that the progress stands for.
ALTER TABLE progress ADD COLUMN history TEXT NOT NULL DEFAULT '0';

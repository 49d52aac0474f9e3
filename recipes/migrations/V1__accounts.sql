CREATE TABLE accounts (name text PRIMARY KEY, money int NOT NULL);

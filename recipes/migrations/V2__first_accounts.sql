INSERT INTO accounts VALUES ('alice', 100), ('bob', 50), ('carol', 7);

-- As the superuser: the extension, and books that belong to a role nobody logs in as.

CREATE EXTENSION billing;
CREATE ROLE provider_books NOLOGIN;
SELECT billing.setup(owner => 'provider_books');

-- The clerk bills and takes part in nothing else: sells, records usage, runs, reads.
CREATE ROLE clerk LOGIN;
SELECT billing.grant_access('clerk', 'operator');

-- The demo bills the year 2026 at once; in earnest a run a day ahead of the clock is refused.
ALTER DATABASE :"DBNAME" SET billing.max_future = '3650 d';
ALTER DATABASE :"DBNAME" SET timezone = 'Europe/Berlin';

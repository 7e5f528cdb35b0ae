\i sql/include/fresh.psql
-- Exact amounts and the calendar: how much, and from when to when.
-- The rules are in src/lib/README.md.
SET timezone = 'Europe/Berlin';

-- An amount is rounded to its currency's minor units, half away from zero.
SELECT currency, billing.round_amount(amount, currency)
  FROM (VALUES (11.875, 'EUR'), (17.765, 'EUR'), (-0.125, 'EUR'), (0.5, 'JPY'),
               (1.0005, 'BHD'), (0.00005, 'CLF'), (7, 'EUR')) x (amount, currency);

-- Only what one can bill in is a currency.
SELECT billing.round_amount(1, 'EURO');
SELECT billing.round_amount(1, 'XAU');
SELECT billing.round_amount('1e20', 'EUR');

-- Periods are computed from the anchor, so the 31st comes back after February.
SELECT n, billing.nth_period('2024-01-31', '1 month', n, 'Europe/Berlin')
  FROM generate_series(-1, 4) n;

-- A year from a leap day; 2100 has none.
SELECT n, lower(billing.nth_period('2024-02-29', '1 year', n, 'Europe/Berlin'))::date AS starts
  FROM unnest(ARRAY[0, 1, 4, 76]) n;

-- Other intervals.
SELECT every, n, lower(period)::date AS starts, upper(period)::date AS ends
  FROM unnest(ARRAY['2 months', '3 months', '6 months', '1 week', '1 day', '30 days']::interval[]) every,
       generate_series(0, 1) n,
       billing.nth_period('2025-12-31', every, n, 'Europe/Berlin') period
 ORDER BY every, n;

-- The wall clock stays while the offset changes; a time that the change skips moves past the gap.
SELECT n, billing.nth_period('2026-03-27 02:30', '1 day', n, 'Europe/Berlin')
  FROM generate_series(0, 3) n;

-- A billing day: the anchor is the latest such day not after the moment given.
SELECT n, billing.nth_period('2026-02-10 15:00', '1 month', n, 'Europe/Berlin', billing_day => 31)
  FROM generate_series(0, 2) n;

-- Where no midnight exists the day begins when it begins.
SELECT lower(billing.nth_period('2017-09-15 03:00Z', '1 month', 1, 'America/Sao_Paulo', 15))
       AT TIME ZONE 'America/Sao_Paulo' AS starts;

-- The ends of the earth share a date line, not a date.
SELECT zone, lower(billing.nth_period('2026-01-31 12:00Z', '1 month', 1, zone, 1)) AT TIME ZONE 'UTC' AS starts_utc
  FROM unnest(ARRAY['Pacific/Kiritimati', 'Etc/GMT+12']) zone;

-- 27 January to 1 February: 5 days of 31, or 4 of 30.
SELECT basis, length, full_length, billing_internal.prorate(12.50, length, full_length, 'EUR')
  FROM unnest(ARRAY['day', '30/360', 'second']) basis,
       billing_internal.proration_length(basis, '2026-01-27', '2026-02-01', 'Europe/Berlin') length,
       billing_internal.proration_length(basis, '2026-01-01', '2026-02-01', 'Europe/Berlin') full_length;

-- Nothing is lost when an amount is split.
SELECT billing_internal.split_amount(100, '{1,1,1}', 'EUR');
SELECT billing_internal.split_amount(-100, '{1,1,1}', 'EUR');
SELECT billing_internal.split_amount(58.82, '{100,-30}', 'EUR') AS charge_and_correction;

-- What is refused.
SELECT billing.nth_period(NULL, '1 month', 0, 'UTC');
SELECT billing.nth_period('2026-01-01', '1 month 1 day', 0, 'UTC');
SELECT billing.nth_period('2026-01-01', '24 hours', 0, 'UTC');
SELECT billing.nth_period('2026-01-01', '-1 month', 0, 'UTC');
SELECT billing.nth_period('2026-01-01', '0', 0, 'UTC');
SELECT billing.nth_period('2026-01-01', '1 month', 0, 'Europe/Berlin5');
SELECT billing.nth_period('2026-01-01', '1 month', 0, 'UTC', billing_day => 32);
SELECT billing.nth_period('2026-01-01', '1 week', 0, 'UTC', billing_day => 1);
SELECT billing.nth_period('infinity', '1 month', 0, 'UTC');
SELECT billing.nth_period('9999-12-01Z', '1 month', 0, 'UTC');

-- As the clerk: 360 customers, a subscription each, and what they used in three months.
-- Remainders of products stand for chance, so every run of the demo is the same.

\set customers 360

SELECT count(*) || ' customers' FROM billing.create_accounts((
    SELECT jsonb_agg(jsonb_build_object(
               'external_id', 'C-' || 1000 + n,
               'name', CASE WHEN n % 6 = 0
                   THEN last_names[1 + n * 5 % 12] || ' ' || (ARRAY['Boatyard', 'Bakery', 'Logistics', 'Architects', 'Dental Care', 'Brewery', 'Press'])[1 + n / 6 % 7]
                   ELSE first_names[1 + n * 7 % 16] || ' ' || last_names[1 + n * 11 % 13] END,
               'country', 'DE', 'email', format('c%s@mail.example', 1000 + n),
               'address', jsonb_build_object('line1', (ARRAY['Strandweg ', 'Am Deich ', 'Hafenstraße ', 'Möwenweg '])[1 + n % 4] || 1 + n * 3 % 80,
                                             'postal_code', '24' || 900 + n % 97, 'city', (ARRAY['Wees', 'Glücksburg', 'Flensburg'])[1 + n % 3])) ORDER BY n)
      FROM generate_series(1, :customers) n,
           (SELECT ARRAY['Anna', 'Bent', 'Clara', 'David', 'Elif', 'Finn', 'Greta', 'Hauke', 'Ida', 'Jan', 'Katja', 'Lars', 'Mira', 'Nils', 'Olga', 'Piet'] AS first_names,
                   ARRAY['Asmussen', 'Brandt', 'Christiansen', 'Demir', 'Ehlers', 'Friedrichsen', 'Gonzalez', 'Hansen', 'Iversen', 'Jensen', 'Kowalski', 'Lorenzen', 'Petersen'] AS last_names) names));

SELECT count(*) || ' subscriptions' FROM billing.create_subscriptions((
    SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'account_id', billing.account_id('C-' || 1000 + n),
               'external_id', 'S-' || 1000 + n,
               'plan', CASE WHEN n % 6 = 0 THEN 'office' ELSE (ARRAY['home-dsl', 'home-fibre', 'home-fibre', 'home-giga'])[1 + n * 3 % 4] END,
               'start_at', timestamptz '2026-01-01' + n * 13 % 59 * interval '1 day',
               'end_at', CASE WHEN n % 40 = 1 THEN timestamptz '2026-03-11' END,
               'items', CASE WHEN n % 6 = 0 THEN jsonb_build_array(jsonb_build_object('price', 'extension', 'quantity', 2 + n * 7 % 40),
                                                                   jsonb_build_object('price', 'mailbox', 'quantity', 3 + n * 7 % 60))
                             WHEN n % 4 < 3 THEN jsonb '[{"price": "router"}]' ELSE '[]' END
                        || CASE WHEN n % 5 = 0 THEN jsonb '[{"price": "magazine"}]' ELSE '[]' END)) ORDER BY n)
      FROM generate_series(1, :customers) n));

-- Usage in bulk goes straight into its table; the same event_key twice would be refused.
WITH used AS (
    INSERT INTO billing.usage_event (account_id, subscription_id, meter, event_key, at, quantity)
    SELECT account_id, id, meter, meter || at::date, at, quantity
      FROM (SELECT s.account_id, s.id, s.account_id AS n, s.plan = 'office' AS office, d, s.start_at, s.end_at,
                   timestamptz '2026-01-01 18:00' + d * interval '1 day' AS at
              FROM billing.subscription s, generate_series(0, 89) d) day,
           LATERAL (VALUES ('minutes', CASE WHEN office OR n % 3 = 0 THEN greatest(n * 31 * (d + 7) % 41 - 24, 0) END),
                           ('messages', CASE WHEN NOT office THEN greatest(n * 17 * (d + 3) % 29 - 20, 0) END),
                           ('storage', CASE WHEN office THEN n * 2 + n * d % 50 END)) AS u (meter, quantity)
     WHERE quantity > 0 AND at >= start_at AND (end_at IS NULL OR at < end_at)
    RETURNING meter)
SELECT count(*) || ' usage events' FROM used;

// Many jobs, a large graph, and a server that asks for tokens. Each has a server of its own.
import { expect, expectAccessible, test } from './fixtures.ts';
import { Server } from './server.ts';

const generator = (name: string) => `
name = "${name}"
[source.in]
connector = "generator"
rate = 1
[sink.out]
input = "in"
connector = "blackhole"
`;

test('a hundred jobs', async ({ page }) => {
  test.setTimeout(120_000);
  const server = await Server.fresh('hundred-jobs');
  for (let i = 0; i < 100; i++) await server.submit(generator(`job-${String(i).padStart(3, '0')}`));
  await page.goto(server.base);
  await expect(page.locator('table.jobs tbody tr')).toHaveCount(100);
  await page.getByLabel('Filter by name or id').fill('job-099');
  await expect(page.locator('table.jobs tbody tr')).toHaveCount(1);
  await server.kill();
});

test('a graph of sixty operators', async ({ page }) => {
  const server = await Server.fresh('sixty-operators');
  const rows = 6;
  const columns = 9;
  const operators = Array.from({ length: rows * columns }, (_, i) => {
    const [row, column] = [i % rows, Math.floor(i / rows)];
    const input = column === 0 ? 'in' : `f${column - 1}-${row}`;
    // Another parallelism in every third column, so that not all of it is one chain.
    return `[operator.f${column}-${row}]\ninput = "${input}"\nfilter = "n >= 0"\nparallelism = ${column % 3 === 2 ? 2 : 1}\n`;
  });
  const sinks = Array.from({ length: rows }, (_, row) => `[sink.out-${row}]\ninput = "f${columns - 1}-${row}"\nconnector = "blackhole"\n`);
  await server.submit(`name = "wide"\n[source.in]\nconnector = "generator"\ntemplate = '{"n": {n}}'\nrate = 5\n${operators.join('')}${sinks.join('')}`);
  await page.goto(`${server.base}/jobs/wide`);
  await expect(page.locator('[data-node]')).toHaveCount(61);
  const boxes = await page.locator('[data-node]').evaluateAll((nodes) => nodes.map((node) => node.getBoundingClientRect().toJSON()));
  for (const [i, a] of boxes.entries()) {
    const covered = boxes.slice(i + 1).some((b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom);
    expect(covered, 'no node covers another').toBe(false);
  }
  await server.kill();
});

test('a server with tokens asks for one, and a token that may only read changes nothing', async ({ page }) => {
  const server = await Server.fresh('tokens');
  server.token = /cofd_\S+/.exec(await server.run('token', 'create', '--role', 'admin', '--name', 'first'))![0];
  await server.kill();
  await server.start();
  const job = await server.submit(generator('guarded'));
  const { token } = await server.api<{ token: string }>('POST', '/v1/tokens', JSON.stringify({ role: 'read', name: 'reader' }));
  await page.goto(`${server.base}/jobs/${job}`);
  await page.getByRole('textbox', { name: 'Token', exact: true }).fill('cofd_wrong_token');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('token-invalid');
  await expectAccessible(page);
  await page.getByRole('textbox', { name: 'Token', exact: true }).fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('heading', { name: 'guarded' })).toBeVisible();
  await expect(page.getByRole('button', { name: 'Cancel', exact: true })).toBeDisabled();
  expect(page.url()).not.toContain('cofd_');
  await page.reload();
  await expect(page.getByRole('heading', { name: 'guarded' })).toBeVisible();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  await server.kill();
});

test('an empty server says what to do', async ({ page }) => {
  const server = await Server.fresh('empty');
  for (const [path, command] of [['/', 'cofferdam submit'], ['/components', 'cofferdam component push'], ['/server', 'cofferdam token create']]) {
    await page.goto(server.base + path);
    await expect(page.locator('.empty').first()).toContainText(command);
    await expectAccessible(page);
  }
  await server.kill();
});

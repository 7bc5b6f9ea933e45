// What a person does on the page, without a mouse where that is hard.
import { expect, test } from './fixtures.ts';
import { until } from './server.ts';

test('the graph is walked with arrow keys, a node is opened with Enter and closed with Escape', async ({ page, scene }) => {
  await page.goto(`${scene.server.base}/jobs/late-flights`);
  await page.locator('[data-node="flights"]').focus();
  await page.keyboard.press('ArrowRight');
  await expect(page.locator('[data-node="parse"]')).toBeFocused();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Enter');
  const drawer = page.getByRole('complementary');
  await expect(drawer).toBeVisible();
  const opened = await page.evaluate(() => new URLSearchParams(location.search).get('node'));
  await expect(drawer).toBeFocused();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Escape');
  await expect(drawer).toBeHidden();
  await expect(page.locator(`[data-node="${opened}"]`)).toBeFocused();
});

test('slash goes to the filter, and the filter is part of the URL', async ({ page, scene }) => {
  await page.goto(scene.server.base);
  await expect(page.getByRole('row', { name: /payments/ })).toBeVisible();
  await page.keyboard.press('/');
  await page.keyboard.type('flights');
  await expect(page.getByRole('row', { name: /payments/ })).toBeHidden();
  await expect(page.getByRole('row', { name: /late-flights/ })).toBeVisible();
  await page.reload();
  await expect(page.getByLabel('Filter by name or id')).toHaveValue('flights');
});

test('a checkpoint is taken by keyboard, and an action that ends the job asks for its name', async ({ page, scene }) => {
  await page.goto(`${scene.server.base}/jobs/payments`);
  await expect(page.getByRole('button', { name: 'Checkpoint', exact: true })).toBeEnabled();
  await page.getByRole('button', { name: 'Checkpoint', exact: true }).focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('dialog').getByRole('button', { name: 'Back' })).toBeFocused();
  const taken = page.waitForResponse((response) => response.url().endsWith('/checkpoints') && response.request().method() === 'POST');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  expect((await taken).status()).toBe(202);
  await expect(page.getByRole('dialog')).toBeHidden();
  await expect(page.getByRole('button', { name: 'Checkpoint', exact: true })).toBeFocused();

  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  const cancel = page.getByRole('button', { name: 'Cancel the job' });
  await expect(cancel).toBeDisabled();
  await page.getByRole('textbox').fill('payments');
  await expect(cancel).toBeEnabled();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toBeHidden();
});

test('dead letters are tried on another version and replayed', async ({ page, scene }) => {
  await page.goto(`${scene.server.base}/jobs/payments/dead-letters`);
  await page.getByLabel('Version').selectOption('repairable@2');
  await page.getByRole('button', { name: /^Try/ }).click();
  await expect(page.getByText('13 succeed')).toBeVisible();
  await page.getByRole('button', { name: 'Replay all' }).click();
  await page.getByRole('button', { name: 'Replay', exact: true }).click();
  await expect(page.getByText(/durable since checkpoint/)).toBeVisible();
  const page2 = await scene.server.api<{ total: number; replays: unknown[] }>('GET', `/v1/jobs/${scene.letters}/dead-letters`);
  expect([page2.total, page2.replays.length]).toEqual([13, 1]);
});

test('the entries of a key are those of the API', async ({ page, scene }) => {
  await until('state', async () => (await scene.server.api<{ operators: unknown[] }>('GET', `/v1/jobs/${scene.letters}/state`)).operators.length > 0);
  await page.goto(`${scene.server.base}/jobs/payments/state?state=sum/sum`);
  await page.getByLabel('Key', { exact: true }).fill('customer-1');
  await page.keyboard.press('Enter');
  const { entries } = await scene.server.api<{ entries: { value: unknown }[] }>('GET', `/v1/jobs/${scene.letters}/state/sum/sum?key=customer-1`);
  await expect(page.locator('.records pre')).toHaveText(JSON.stringify(entries[0].value));
});

test('records are shown as they pass', async ({ page, scene }) => {
  await page.goto(`${scene.server.base}/jobs/late-flights?node=track&tab=tap`);
  await page.getByRole('button', { name: 'Show records' }).click();
  await expect(page.locator('.records li').first()).toBeVisible();
  await page.getByRole('button', { name: 'Pause' }).click();
});

test('markup and directions in records and faults stay text', async ({ page, scene }) => {
  const where = ['/jobs/orders-to-lake', '/jobs/orders-to-lake/logs', '/jobs/payments/dead-letters', '/'];
  for (const path of where) {
    await page.goto(scene.server.base + path);
    await page.waitForTimeout(300);
    expect(await page.title()).not.toContain('owned');
    expect(await page.locator('main img, main script, main b:text-is("customer")').count()).toBe(0);
  }
  await page.goto(`${scene.server.base}/jobs/orders-to-lake`);
  await expect(page.locator('.failure')).toContainText('<script>document.title="owned"</script>');
  expect(await page.locator('body').innerText()).not.toContain('\u202e');
});

test('a killed server makes the page stale, and a new one makes it live again', async ({ page, scene }) => {
  await page.goto(`${scene.server.base}/jobs/late-flights`);
  await expect(page.getByRole('status').filter({ hasText: 'Live' })).toBeVisible();
  await expect(page.locator('[data-node="parse"]')).toContainText('/s');
  await scene.server.kill();
  await expect(page.getByText(/Stale/)).toBeVisible();
  await expect(page.locator('[data-node="parse"]')).toBeVisible();
  await scene.server.start();
  await expect(page.getByRole('status').filter({ hasText: 'Live' })).toBeVisible();
  await scene.server.waitFor(scene.flights, 'RUNNING');
  await expect(page.getByText('Running', { exact: true })).toBeVisible();
});

import { defineConfig } from '@playwright/test';

// `cargo xtask web --test` sets the environment: the binary, the components, a folder to work in, and the browser.
export default defineConfig({
  testDir: 'tests',
  timeout: 60_000,
  expect: { timeout: 20_000 },
  workers: 1,
  fullyParallel: false,
  forbidOnly: true,
  // A test that fails begins a new scene, which takes time.
  maxFailures: 10,
  reporter: [['list']],
  outputDir: 'test-results',
  use: {
    viewport: { width: 1280, height: 900 },
    timezoneId: 'UTC',
    locale: 'en-GB',
    launchOptions: {
      executablePath: process.env.CHROMIUM,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
  projects: [
    { name: 'tests', testMatch: /.*\.spec\.ts/ },
    { name: 'pictures', testMatch: /pictures\.ts/ },
  ],
});

// The frame of every screen: the navigation, and whether the page is live.
import type { ComponentChildren } from 'preact';
import { needsToken, signOut, token } from '../api/client.ts';
import { duration, timesAre, toggleTimes } from '../format.ts';
import { jobs, now, staleSince } from '../live.ts';
import { followLinks, path } from '../router.ts';
import { setTheme, theme, type Theme } from '../settings.ts';
import { Icon, type IconName } from './icons.tsx';

const SECTIONS: [string, string][] = [
  ['/', 'Jobs'],
  ['/components', 'Components'],
  ['/server', 'Server'],
  ['/docs/errors', 'Errors'],
];

const isIn = (section: string) =>
  section === '/' ? path.value === '/' || path.value.startsWith('/jobs') : path.value.startsWith(section);

const NEXT_THEME: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
const THEME_ICON: Record<Theme, IconName> = { system: 'screen', light: 'sun', dark: 'moon' };

function LiveState() {
  if (needsToken.value) return null;
  const since = staleSince.value;
  return (
    <span class={since !== null ? 'live stale' : 'live'}>
      <Icon name={since !== null ? 'alert' : 'dot'} size={14} />
      <span role="status">{since !== null ? 'Stale' : jobs.value === null ? 'Connecting' : 'Live'}</span>
      {since !== null && <span> since {duration(Math.max(0, now.value - since))}</span>}
    </span>
  );
}

export function Shell({ children }: { children: ComponentChildren }) {
  return (
    <div onClick={followLinks}>
      <a class="skip" href="#main">
        Skip to content
      </a>
      <header class="top">
        <a class="brand" href="/" aria-label="Cofferdam, all jobs">
          <svg width="24" height="24" viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="7" class="mark" />
            <path d="M8 7v18M16 7v18M24 7v18" class="pile" />
            <path d="M4 18h24" class="water" />
          </svg>
          <span>Cofferdam</span>
        </a>
        <nav aria-label="Sections">
          {SECTIONS.map(([href, label]) => (
            <a key={href} href={href} aria-current={isIn(href) ? 'page' : undefined}>
              {label}
            </a>
          ))}
        </nav>
        <div class="tools">
          <LiveState />
          <button type="button" class="plain" onClick={toggleTimes} aria-label={`${timesAre.value === 'utc' ? 'UTC' : 'Local'} times. Change`}>
            <Icon name="clock" /> {timesAre.value === 'utc' ? 'UTC' : 'Local'}
          </button>
          <button
            type="button"
            class="plain"
            onClick={() => setTheme(NEXT_THEME[theme.value])}
            aria-label={`${theme.value} theme. Change to ${NEXT_THEME[theme.value]}`}
          >
            <Icon name={THEME_ICON[theme.value]} /> {theme.value}
          </button>
          {token.value && (
            <button type="button" class="plain" onClick={signOut}>
              <Icon name="user" /> Sign out
            </button>
          )}
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {children}
      </main>
    </div>
  );
}

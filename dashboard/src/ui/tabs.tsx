// A row of links, of which one is the current screen.
import type { ComponentChildren } from 'preact';

export interface TabLink {
  href: string;
  label: string;
  isCurrent: boolean;
  badge?: ComponentChildren;
}

export function Tabs({ tabs, label, small }: { tabs: TabLink[]; label: string; small?: boolean }) {
  return (
    <nav class={small ? 'tabs small' : 'tabs'} aria-label={label}>
      {tabs.map((tab) => (
        <a key={tab.href} href={tab.href} aria-current={tab.isCurrent ? 'page' : undefined}>
          {tab.label}
          {tab.badge}
        </a>
      ))}
    </nav>
  );
}
